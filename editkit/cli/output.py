"""Standard output that cannot be written: a full disk behind `> FILE` is told as an error of that place."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from editkit.errors import OutputError


@contextmanager
def flushed() -> Iterator[None]:
    """Write out what the block printed, however it ended.

    Raises:
        OutputError: standard output does not take it; what is left of it is dropped.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # closed by whoever started the process
                sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None or not _fails():  # somebody else's file
            raise
        raise OutputError(
            f"What was printed could not be written: {os.strerror(error.errno or errno.EIO)}.",
            "Free space, or send the output elsewhere.",
        ) from error


def _fails() -> bool:
    """Whether standard output takes nothing more; if so, what it holds is dropped, or Python would end with it."""
    try:
        print(flush=True)
    except OSError:
        with suppress(OSError, ValueError):  # no real file
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        return True
    return False
