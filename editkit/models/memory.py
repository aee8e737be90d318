"""Have the C library give large tensors back to the system as soon as they are freed."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeVar

import torch

from editkit.errors import ModelError
from editkit.models.compute import Compute
from editkit.models.workers import WorkersUnusableError
from editkit.progress import Stage, tell

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


Result = TypeVar("Result")

ALLOCATORS = (
    "out of memory",  # CUDA's and MPS's own, also where a library or a worker process hands the message on
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
)
"""What allocators say in a RuntimeError."""

REMEDY = "Compute with --dtype bfloat16 or --autocast bfloat16, on another --device, or take a smaller model."


class OutOfMemoryError(ModelError):
    """There was not enough memory; what the attempt held is free again."""


@dataclass
class Batches:
    """How many items the passes of one run take at once: as many as asked for, until memory runs out."""

    compute: Compute
    """With the batch size that fits, as far as is known."""
    stage: Stage
    halved: list[dict[str, Any]] = field(default_factory=list)
    """The passes that ran out of memory, and the batch size that each was started again with: part of the record."""

    def run_smaller(self, what: str, items: int, attempt: Callable[[Compute], Result]) -> Result:
        """Return what `attempt` returns, called with smaller and smaller batches while there is not enough memory.

        The size found is kept for the passes that follow, and so it is if images have to be decoded without workers.

        Args:
            what: the pass, as the user is told it.
            items: how many the pass has: larger batches than these are as large as these.
            attempt: one whole pass, from new sums on.

        Raises:
            ModelError: not even one item at a time fits.
        """
        while True:
            try:
                return free_on_oom(partial(attempt, self.compute))
            except WorkersUnusableError as error:
                self.compute = self.compute.model_copy(update={"workers": 0})
                tell(self.stage, f"{what}: decoding in the main process. {error.problem} {error.remedy}")
                continue
            except OutOfMemoryError as error:
                reason = error.problem
            size = min(self.compute.batch_size, items) // 2
            if size < 1:
                raise ModelError(f"Out of memory ({what}), with one item at a time: {reason}", REMEDY)
            self.compute = self.compute.model_copy(update={"batch_size": size})
            self.halved.append({"pass": what, "batch_size": size})
            tell(self.stage, f"{what}: out of memory, continuing with batches of {size}")


def free_on_oom(call: Callable[[], Result]) -> Result:
    """Call, and if there is not enough memory, free what the call held before anything else happens.

    Weights that are exchanged around a call can then be put back whatever its size was.

    Raises:
        OutOfMemoryError: there was not enough memory.
    """
    try:
        return call()
    except Exception as error:  # `_shortage` tells which are about memory; all others are raised as they are
        shortage = _shortage(error)
        if shortage is None:
            raise
    _free()
    raise OutOfMemoryError(shortage, REMEDY)


def _shortage(error: BaseException) -> str | None:
    """Say in a sentence what could not be allocated; None: the error is about something else."""
    if isinstance(error, OutOfMemoryError):
        return error.problem
    text = str(error)
    if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not (
        isinstance(error, RuntimeError) and any(said in text for said in ALLOCATORS)
    ):
        return _shortage(error.__cause__) if error.__cause__ else None  # a library's own words for it
    size = re.search(r"allocate (\d[\d.]* ?\w+)", text)
    return f"{size[1]} could not be allocated." if size else "memory could not be allocated."


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
