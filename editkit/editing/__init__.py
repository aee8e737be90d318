"""Plan and carry out an edit: score, select, manipulate, record. `engine` is the file to read first."""
