"""The Python API: every command of the command line as a function that returns what the command prints, as a value."""
