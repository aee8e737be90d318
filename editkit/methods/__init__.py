"""editkit's own scorers, selectors and manipulators, one method a file."""
