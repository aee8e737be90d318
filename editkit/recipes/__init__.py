"""What is asked for: layers merged, components chosen and checked; and the YAML recipes that come along."""
