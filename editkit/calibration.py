"""Which tuples calibrate which tower, drawn once, and the batches that they become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from editkit.datasets.tuples import Item, TupleSet
from editkit.errors import DataError
from editkit.protocols import Model
from editkit.recipe import Calibration, Choice, Compute
from editkit.site import Site, Tower
from editkit.streams import Batch, Unreadable, image_batches, refuse_unreadable, text_batches

MINIMUM_TOKENS = 2
"""A standard deviation needs two tokens."""


@dataclass
class Dropped:
    """Tuples that a tower could not use, by reason; filled while batches are drawn."""

    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, item: Item) -> None:
        """Note one tuple."""
        self.reasons.setdefault(reason, []).append(item.id)

    def describe(self) -> dict[str, dict[str, object]]:
        """Return count and the first ids for each reason."""
        return {reason: {"count": len(ids), "ids": ids[:20]} for reason, ids in self.reasons.items()}


def load_tuples(choice: Choice, calibration: Calibration) -> TupleSet:
    """Load a data set's split and draw from it.

    Raises:
        DataError: the data set is missing, empty or lacks a side.
        RecipeError: the component holds labelled images, not tuples.
    """
    data = choice.build().load(calibration.split)
    if not isinstance(data, TupleSet):
        from editkit.errors import RecipeError

        raise RecipeError(
            f"Data set '{choice.name}' holds labelled images, not tuples of safe and unsafe items.",
            "Give --data visu:FOLDER or --data pairs:FILE.",
        )
    return data.select(calibration.concepts, calibration.limit, calibration.per_concept, calibration.seed)


def usable(data: TupleSet, tower: Tower, dropped: Dropped) -> tuple[Item, ...]:
    """Return the tuples that have both sides for `tower`, noting the others.

    Raises:
        DataError: not one has.
    """
    kept = []
    for item in data.items:
        if item.has_texts if tower == "text" else item.has_images:
            kept.append(item)
        else:
            dropped.add("empty caption" if tower == "text" else "no image", item)
    if not kept:
        other = "vision:mlp.out" if tower == "text" else "text:attn.out"
        raise DataError(
            f"{data.name} has no pair of {'captions' if tower == 'text' else 'images'}, "
            f"which the {tower} tower is calibrated on.",
            f"Edit the other tower alone: add --target {other}",
        )
    return tuple(kept)


def require_sides(data: TupleSet, sites: Sequence[Site]) -> None:
    """Check, before anything heavy, that the data serve every tower that is to be edited.

    Raises:
        DataError: a tower has no pairs.
    """
    for tower in sorted({site.tower for site in sites}):
        usable(data, tower, Dropped())


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
        dropped.add("unreadable image", items[bad.group])

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
