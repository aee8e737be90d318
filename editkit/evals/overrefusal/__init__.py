"""`overrefusal`: what an edit does to benign items that look or sound unsafe, and to unsafe ones not seen before."""
