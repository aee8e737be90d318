"""Work over many files or tensors in threads: hashing, reading and syncing release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int], None] | None = None
) -> list[Result]:
    """Return `work(item)` for every item, in order; `done(1)` is called after each, in the calling thread.

    On an error, or on Ctrl-C, work that has not started is dropped.
    """
    results = []
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for result in pool.map(work, items):
            results.append(result)
            if done:
                done(1)
    finally:
        pool.shutdown(cancel_futures=True)
    return results
