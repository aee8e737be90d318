"""Selectors: which weights to edit, given their scores. One method a file."""
