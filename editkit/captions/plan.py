"""Which image is captioned in which batch, and with which seed: fixed by the data's order before any image is read.

So an image that turns out to be unreadable leaves a gap in its own batch and moves no other, and a batch can be made
again alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from editkit.captions.options import Side
from editkit.datasets.images import ImageSource
from editkit.datasets.tuples import Item
from editkit.errors import DataError


@dataclass(frozen=True)
class Task:
    """One image to caption: the `side` of the tuple `id`."""

    id: str
    side: Side
    concept: str
    image: ImageSource


@dataclass(frozen=True)
class Batch:
    """Images that are captioned together; `number` counts from 0 over the whole run."""

    number: int
    seed: int
    tasks: tuple[Task, ...]


def plan_batches(items: Sequence[Item], sides: Sequence[Side], size: int, seed: int) -> list[Batch]:
    """Cut the images of tuples into batches of at most `size`: side by side, each in the order of the data.

    No batch holds images of two sides.

    Raises:
        DataError: a tuple lacks one of the images.
    """
    parts: list[tuple[Task, ...]] = []
    for side in sides:
        tasks = [_task(item, side) for item in items]
        parts += [tuple(tasks[start : start + size]) for start in range(0, len(tasks), size)]
    return [Batch(number, batch_seed(seed, number), part) for number, part in enumerate(parts)]


def batch_seed(seed: int, number: int) -> int:
    """Return the seed of a batch: 48 bits of the sha256 of "SEED:NUMBER", exact in any reader of JSON."""
    return int.from_bytes(sha256(f"{seed}:{number}".encode()).digest()[:6], "big")


def _task(item: Item, side: Side) -> Task:
    image = item.unsafe_image if side == "unsafe" else item.safe_image
    if image is None:
        raise DataError(f"Tuple '{item.id}' has no {side} image.", "Caption tuples that are whole.")
    return Task(item.id, side, item.concept, image)
