"""Processes that decode images, and what stops them: too little shared memory for what they hand over, or the kernel.

A batch goes from a worker to the main process through files in /dev/shm. Docker gives a container 64 MB of it: a worker
that writes more is killed or never heard of again, so what will be written is compared with what is free before any
starts.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from editkit.errors import ModelError

SHARED = Path("/dev/shm")
PREFETCHED = 2  # batches that a DataLoader has each worker make ahead
PATIENCE = 600  # seconds for one batch: whoever waits longer waits for a worker that failed unheard
REMEDY = "Give a container more shared memory, docker run --shm-size=1g, or take a smaller --batch-size."

Made = TypeVar("Made")


class WorkersUnusableError(ModelError):
    """Images cannot be decoded in processes of their own here; the main process can."""


def require_shared_memory(batch_bytes: int, workers: int) -> None:
    """Compare what workers will have handed over at once with the shared memory that is free.

    Args:
        batch_bytes: of one batch of decoded images.

    Raises:
        WorkersUnusableError: it does not fit.
    """
    try:
        free = shutil.disk_usage(SHARED).free
    except OSError:  # a system that shares memory by other means
        return
    needed = batch_bytes * (PREFETCHED * workers + 2)  # and the batch in use, with the one before it
    if needed > free:
        raise WorkersUnusableError(
            f"{workers} workers hand over up to {needed / 1e6:,.0f} MB of images, and {SHARED} has "
            f"{free / 1e6:,.0f} MB free.",
            REMEDY,
        )


def made_by(start: Callable[[], Iterable[Made]], workers: int) -> Iterator[Made]:
    """Yield what the workers of a DataLoader make.

    Args:
        start: makes the loader.

    Raises:
        WorkersUnusableError: they cannot be started, or shared memory ran out after all.
        ModelError: one was killed, or is not heard of any more.
    """
    try:
        with warnings.catch_warnings():  # PyTorch's advice on the number of workers, where there is one CPU
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            batches = iter(start())
    except OSError as error:  # no process, or no semaphore
        raise WorkersUnusableError(f"{workers} workers cannot be started: {error}.", REMEDY) from error
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            raise (_dead(f"{error} {error.__cause__ or ''}", workers) or error) from error.__cause__
        yield batch


def _dead(said: str, workers: int) -> ModelError | None:
    """Return the error of a worker that is gone, by what PyTorch says; None: it says something else."""
    if "Bus error" in said:
        return WorkersUnusableError(f"{workers} workers ran out of shared memory ({SHARED}).", REMEDY)
    if "DataLoader timed out" in said:
        return WorkersUnusableError(f"No worker of {workers} finished a batch in {PATIENCE} seconds.", REMEDY)
    if not re.search(r"DataLoader worker \(pid.*\) (is killed|exited)", said):
        return None
    signal = re.search(r"killed by signal: ([\w ]+)", said)
    return ModelError(
        f"A process that decodes images ended{f' by the signal: {signal[1].strip()}' if signal else ''}; "
        "the kernel ends processes when memory runs out.",
        "Decode in the main process with --workers 0, or take a smaller --batch-size.",
    )
