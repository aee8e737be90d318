"""Sources of tuples, of labelled images and of queries; nothing here imports torch."""
