"""Names that are free: the name itself, or the same with a number."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count


def first_free(stem: str, is_taken: Callable[[str], bool], suffix: str = "") -> str:
    """Return the first of STEM, STEM-2, STEM-3 ..., each with the suffix, that is not taken."""
    names = (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}" for number in count(1))
    return next(name for name in names if not is_taken(name))
