"""Which image is captioned in which batch, and with which seed: fixed by the data's order before any image is read.

So an image that turns out to be unreadable leaves a gap in its own batch and moves no other, and a batch can be made
again alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from editkit.components.site import Side
from editkit.data.readers.images import ImageSource
from editkit.data.tuples import Item
from editkit.errors import DataError
from editkit.files.cache import key_of


@dataclass(frozen=True)
class Task:
    """One image to caption: the `side` of the tuple `id`."""

    id: str
    side: Side
    concept: str
    image: ImageSource


@dataclass(frozen=True)
class CaptionBatch:
    """Images that are captioned together; `number` counts from 0 over the whole run."""

    number: int
    seed: int
    tasks: tuple[Task, ...]


def plan_batches(items: Sequence[Item], sides: Sequence[Side], size: int, seed: int) -> list[CaptionBatch]:
    """Cut the images of tuples into batches of at most `size`: side by side, each in the order of the data.

    No batch holds images of two sides.

    Raises:
        DataError: a tuple lacks one of the images.
    """
    parts: list[tuple[Task, ...]] = []
    for side in sides:
        tasks = [_task(item, side) for item in items]
        parts += [tuple(tasks[start : start + size]) for start in range(0, len(tasks), size)]
    return [CaptionBatch(number, batch_seed(seed, number), part) for number, part in enumerate(parts)]


def batch_seed(seed: int, number: int) -> int:
    """Return the seed of a batch: 48 bits of the sha256 of "SEED:NUMBER", exact in any reader of JSON."""
    return int.from_bytes(sha256(f"{seed}:{number}".encode()).digest()[:6], "big")


def _task(item: Item, side: Side) -> Task:
    image = item.unsafe_image if side == "unsafe" else item.safe_image
    if image is None:
        raise DataError(f"Tuple '{item.id}' has no {side} image.", "Caption tuples that are whole.")
    return Task(item.id, side, item.concept, image)


SCHEMA = "editkit.captions/1"


@dataclass(frozen=True)
class Settings:
    """Everything that decides a caption, except for the machine it is made on.

    `identity` is the digest of the base's weights, `processing` of what turns images into tensors, `patch` of the edit
    laid over them; `prompt` None: the one that the family is asked with.
    """

    identity: str
    processing: str
    patch: str | None
    prompt: str | None
    temperature: float
    max_new_tokens: int
    seed: int
    batch_size: int
    dtype: str
    fingerprint: str
    sides: tuple[Side, ...]

    @property
    def digest(self) -> str:
        """Eight hex digits that name these settings."""
        return key_of(asdict(self))[:8]

    def header(self, model: str, family_prompt: str, device: str) -> dict[str, Any]:
        """Return the first line of a captions file.

        Args:
            model: what the user calls the model.
            family_prompt: what it is asked with if the settings do not say.
            device: the kind of device, whose arithmetic and random numbers are its own.
        """
        return {
            "schema": SCHEMA,
            "model": model,
            **asdict(self),
            "prompt": family_prompt if self.prompt is None else self.prompt,
            "family_prompt": self.prompt is None or self.prompt == family_prompt,
            "sides": list(self.sides),
            "device": device,
        }

    def contradiction(self, header: Mapping[str, Any], device: str | None = None) -> tuple[str, Any, Any] | None:
        """Return the first setting in which a file differs: its name, the file's value, the one asked for.

        Args:
            device: also compared, where a run is to go on with the file.
        """
        asked = asdict(self) | {"sides": list(self.sides)} | ({} if device is None else {"device": device})
        for name, value in asked.items():
            if name == "prompt" and value is None:
                if not header.get("family_prompt"):
                    return name, header.get("prompt"), "the family's own"
            elif header.get(name) != value:
                return name, header.get(name), value
        return None
