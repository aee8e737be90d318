"""Sources of tuples and of labelled images; nothing here imports torch."""
