"""Which tuples calibrate which tower, drawn once, and the batches that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from editkit.components.choice import Choice
from editkit.components.protocols import Model
from editkit.components.site import TOWERS, Tower
from editkit.data.draw import draw_order
from editkit.data.tuples import Item, TupleSet
from editkit.errors import DataError
from editkit.models.batches import Batch, Sink, Unreadable, image_batches, refuse_unreadable, text_batches
from editkit.models.compute import Compute
from editkit.recipes.recipe import Calibration

UNREADABLE = "unreadable image"
"""Why a tuple was dropped that only a run which skips bad items goes on without."""
MINIMUM_TOKENS = 2
"""A standard deviation needs two tokens."""


@dataclass
class Dropped:
    """Tuples that a tower could not use, by reason; filled while batches are drawn."""

    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, item: Item) -> None:
        """Note one tuple."""
        self.reasons.setdefault(reason, []).append(item.id)

    def merge(self, reasons: Mapping[str, Sequence[str]]) -> None:
        """Note the tuples that another pass dropped, each once."""
        for reason, ids in reasons.items():
            self.reasons[reason] = list(dict.fromkeys([*self.reasons.get(reason, ()), *ids]))

    def describe(self) -> dict[str, dict[str, object]]:
        """Return count and the first ids for each reason; several passes may have met the same tuple."""
        once = {reason: list(dict.fromkeys(ids)) for reason, ids in self.reasons.items()}
        return {reason: {"count": len(ids), "ids": ids[:20]} for reason, ids in once.items()}


def load_tuples(choice: Choice, calibration: Calibration) -> TupleSet:
    """Load a data set's split and draw from it.

    Raises:
        DataError: the data set is missing, empty or lacks a side.
        RecipeError: the data set holds no tuples.
    """
    data = choice.build().load(calibration.split)
    if not isinstance(data, TupleSet):
        from editkit.data.queries import QuerySet
        from editkit.errors import RecipeError

        held = "queries" if isinstance(data, QuerySet) else "labelled images"
        raise RecipeError(
            f"Data set '{choice.name}' holds {held}, not tuples of safe and unsafe items.",
            "Give --data visu:FOLDER or --data pairs:FILE.",
        )
    return data.select(calibration.concepts, calibration.limit, calibration.per_concept, calibration.seed)


def usable(data: TupleSet, towers: Sequence[Tower], dropped: Dropped) -> tuple[Item, ...]:
    """Return the tuples that have both sides for each of `towers`, noting the others.

    Raises:
        DataError: not one has.
    """
    kept = []
    for item in data.items:
        if "text" in towers and not item.has_texts:
            dropped.add("empty caption", item)
        elif "vision" in towers and not item.has_images:
            dropped.add("no image", item)
        else:
            kept.append(item)
    if not kept:
        sides = {"text": "a pair of captions", "vision": "a pair of images"}
        other = "vision:mlp.out" if towers[0] == "text" else "text:attn.out"
        raise DataError(
            f"{data.name} has no tuple with {' and '.join(sides[tower] for tower in towers)}.",
            f"Edit the other tower alone: add --target {other}"
            if len(towers) == 1
            else "Choose a method that looks at one modality (`uwm`), or data with both.",
        )
    return tuple(kept)


def paired(data: TupleSet, seed: int, dropped: Dropped) -> list[Item]:
    """Return the tuples that have both modalities, in the order of the draw, noting the others.

    Raises:
        DataError: not one has.
    """
    found = usable(data, TOWERS, dropped)
    return [found[position] for position in draw_order([item.id for item in found], seed)]


def require_sides(data: TupleSet, needed: Sequence[Sequence[Tower]]) -> None:
    """Check, before anything heavy, that the data serve every group of towers that something looks at.

    Raises:
        DataError: for one group there is no tuple.
    """
    for towers in needed:
        usable(data, towers, Dropped())


def pair_batches(
    model: Model,
    items: Sequence[Item],
    tower: Tower,
    calibration: Calibration,
    compute: Compute,
    dropped: Dropped,
    *,
    skip_unreadable: bool = False,
) -> Iterator[Batch]:
    """Yield batches of pairs (safe, unsafe) of one tower; every pair counts once, whatever the batch size."""

    def on_unreadable(bad: Unreadable) -> None:
        if not skip_unreadable:
            refuse_unreadable(bad)
        dropped.add(UNREADABLE, items[bad.group])

    if tower == "vision":
        yield from image_batches(
            model,
            [(item.safe_image, item.unsafe_image) for item in items if item.safe_image and item.unsafe_image],
            batch_size=compute.batch_size,
            workers=compute.workers,
            on_unreadable=on_unreadable,
        )
        return
    pairs = [(item.safe_text or "", item.unsafe_text or "") for item in items]
    for batch in text_batches(model, pairs, batch_size=compute.batch_size, tokens=calibration.tokens):
        narrowed = _without_short(batch, items, dropped)
        if narrowed is not None:
            yield narrowed


def loss_batches(
    model: Model, items: Sequence[Item], tower: Tower, size: int | None, compute: Compute, on_unreadable: Sink
) -> Iterator[list[Batch]]:
    """Yield, for each loss over `size` consecutive tuples, its micro-batches; None: as many as fit one of them.

    The tuples of a loss are part of the method, so they follow the draw, not the captions' lengths.
    """
    size = size or compute.batch_size
    if tower == "text":
        pairs = [(item.safe_text or "", item.unsafe_text or "") for item in items]
        for start in range(0, len(pairs), size):
            batches = text_batches(model, pairs[start : start + size], batch_size=compute.batch_size)
            yield [replace(batch, groups=tuple(start + group for group in batch.groups)) for batch in batches]
        return
    micro = max(part for part in range(1, compute.batch_size + 1) if size % part == 0)  # none may belong to two losses
    pictures = [(item.safe_image, item.unsafe_image) for item in items if item.safe_image and item.unsafe_image]
    stream = image_batches(model, pictures, batch_size=micro, workers=compute.workers, on_unreadable=on_unreadable)
    for _, batches_of_loss in groupby(stream, key=lambda batch: batch.groups[0] // size):
        yield list(batches_of_loss)


def _without_short(batch: Batch, items: Sequence[Item], dropped: Dropped) -> Batch | None:
    if batch.mask is None:
        return batch
    size = len(batch.groups)
    enough = batch.mask.sum(dim=1) >= MINIMUM_TOKENS  # [2 * B]
    keep = enough[:size] & enough[size:]
    if bool(keep.all()):
        return batch
    for group, good in zip(batch.groups, keep.tolist(), strict=True):
        if not good:
            dropped.add("fewer than 2 tokens", items[group])
    if not bool(keep.any()):
        return None
    rows = keep.repeat(2)
    return replace(
        batch,
        groups=tuple(group for group, good in zip(batch.groups, keep.tolist(), strict=True) if good),
        inputs={name: tensor[rows] for name, tensor in batch.inputs.items()},
        mask=batch.mask[rows],
    )
