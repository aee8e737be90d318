"""How long work tells what it is doing: a stage, with how many steps it has, and each step done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Stage = Callable[[str, int], AbstractContextManager[Advance]]
"""`stage(what, total)` gives, for as long as it is open, a function to call with the number of steps done.

A stage of no steps is something that the user should know."""


@contextmanager
def silent(what: str, total: int) -> Iterator[Advance]:
    """Report nothing: the default of the Python API."""
    yield lambda steps: None


def tell(stage: Stage, what: str) -> None:
    """Tell the user something."""
    with stage(what, 0):
        pass
