"""All methods over all evaluations: chosen on validation tuples, reported on test tuples, as one page.

    OMP_NUM_THREADS=2 python -m benchmarks.results RUNS [--page docs/results.md] [--json FILE]
    OMP_NUM_THREADS=2 python -m benchmarks.results RUNS --families uwm refuse --limit 100          a quick try

Patches and reports are kept below RUNS, and scores and embeddings in editkit's cache (EDITKIT_CACHE_DIR): a run that
was cut off goes on where it stopped.
"""
