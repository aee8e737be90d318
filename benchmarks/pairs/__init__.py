"""How far closed-form edits of the final projections go: chosen on validation tuples, reported on test tuples.

    python -m benchmarks.pairs [--model MODEL] [--json FILE]

At the final projection an edit is one matrix, so the towers run once and hundreds of edits are measured in seconds.
"""
