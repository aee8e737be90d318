"""Manipulators: what selected weights become. One method a file."""
