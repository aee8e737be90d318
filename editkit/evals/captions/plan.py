"""Which image is captioned in which batch, and with which seed: fixed by the data's order before any image is read.

So an image that turns out to be unreadable leaves a gap in its own batch and moves no other, and a batch can be made
again alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from secrets import token_hex
from typing import Any

from editkit.components.code import Code
from editkit.components.site import Side
from editkit.data.readers.images import ImageSource
from editkit.data.tuples import Item
from editkit.errors import DataError
from editkit.models.identity import Identity, ModelIdentity


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
INSTALLED = ("code.", "libraries.")
"""How the names of those settings begin that nobody chose for the run."""


@dataclass(frozen=True)
class Settings(Identity):
    """Everything that decides a caption, but for the kind of device, which is compared where a file is continued only.

    `patch` is the digest of the edit laid over the model; `prompt` None: the one that the family is asked with.
    """

    model: ModelIdentity
    patch: str | None
    prompt: str | None
    temperature: float
    max_new_tokens: int
    seed: int
    batch_size: int
    fingerprint: str
    sides: tuple[Side, ...]

    @property
    def codes(self) -> tuple[Code, ...]:
        """All code that captions depend on."""
        return self.model.code

    @property
    def digest(self) -> str:
        """Eight hex digits that name these settings; of code that cannot be known, drawn at random."""
        return (self.key or token_hex(4))[:8]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a captions file says of them."""
        model = self.model
        return {
            "identity": model.weights,
            "config": model.config,
            "processing": model.processing,
            "adapter": model.adapter,
            "code": {code.name: _version(code) for code in model.code},
            "libraries": dict(model.libraries),
            "matmul": model.matmul,
            "patch": self.patch,
            "prompt": self.prompt,
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "dtype": model.dtype,
            "fingerprint": self.fingerprint,
            "sides": list(self.sides),
        }

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
            **self.facts,
            "prompt": family_prompt if self.prompt is None else self.prompt,
            "family_prompt": self.prompt is None or self.prompt == family_prompt,
            "device": device,
        }

    def contradiction(self, header: Mapping[str, Any], device: str | None = None) -> tuple[str, Any, Any] | None:
        """Return the first setting in which a file differs: its name, the file's value, the one asked for.

        Args:
            device: also compared, where a run is to continue the file.
        """
        held, asked = _flat(header), _flat(self.facts | ({} if device is None else {"device": device}))
        if self.prompt is None:
            del asked["prompt"]
            if not header.get("family_prompt"):
                return "prompt", header.get("prompt"), "the family's own"
        gone = (name for name in held if name.startswith(INSTALLED) and name not in asked)
        names = (*asked, *gone)
        first = next((name for name in names if held.get(name) != asked.get(name)), None)
        return None if first is None else (first, held.get(first), asked.get(first))


def says_what_made_it(header: Mapping[str, Any]) -> bool:
    """Whether a file's first line names code, libraries and configuration; before, captions were made without."""
    return {"code", "libraries", "config"} <= header.keys()


def _version(code: Code) -> str:
    digest = f"unknown {token_hex(4)}" if code.digest is None else code.digest[:12]  # one that equals no other
    return " ".join(part for part in (code.version, digest) if part)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with those of an inner mapping under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        within = isinstance(value, Mapping)
        flat |= {f"{name}.{inner}": held for inner, held in value.items()} if within else {name: value}
    return flat
