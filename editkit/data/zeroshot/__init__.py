"""Zero-shot benchmarks in the layouts in which they are published, and the readers that sets of one's own share."""
