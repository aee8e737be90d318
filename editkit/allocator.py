"""Have the C library give large tensors back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

M_MMAP_THRESHOLD = -3
LARGE = 4 << 20  # bytes: a matrix of a large model, or its activations on one image


@cache
def return_large_blocks() -> None:
    """Fix the size from which memory is mapped by itself, where the C library is glibc; elsewhere do nothing.

    glibc raises that size to 32 MB as it goes. Most tensors of a model are smaller: freed, they leave holes between
    those that stay, and editing a vision tower of 1.2 GB in batches of a pair took 0.4 GB more than it held.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
