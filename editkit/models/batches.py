"""Turn tuples into batches of model inputs: images decoded in worker processes, captions sorted by length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from editkit.data.readers.images import ImageSource, open_rgb
from editkit.errors import DataError
from editkit.models.workers import PATIENCE, made_by, require_shared_memory

if TYPE_CHECKING:
    from editkit.components.protocols import Model


@dataclass(frozen=True)
class Batch:
    """B groups of k samples: rows 0..B-1 of each tensor are the first of each group, then the second, and so on.

    A pair is a group of two: its safe sample, then its unsafe one.
    """

    groups: tuple[int, ...]
    inputs: Mapping[str, Tensor]
    mask: Tensor | None
    """[k * B, T] bool, tokens that count; None: all of them."""


@dataclass(frozen=True)
class Unreadable:
    """A group left out because one of its images could not be decoded."""

    group: int
    reason: str
    remedy: str


Sink = Callable[[Unreadable], None]


def refuse_unreadable(item: Unreadable) -> None:
    """Stop at the first image that cannot be decoded (the default of `on_unreadable`)."""
    raise DataError(item.reason, item.remedy)


def pass_over(item: Unreadable) -> None:
    """Leave an image out that cannot be decoded; whoever embeds it names it in what comes of it."""


LOOKED_AT = 8  # groups, for one that can be decoded


class _Images(Dataset[Any]):
    """Decodes and preprocesses one group; runs in worker processes, so it holds no model."""

    def __init__(
        self, groups: Sequence[tuple[ImageSource, ...]], preprocess: Callable[[Any], Mapping[str, Tensor]]
    ) -> None:
        self.groups = groups
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, group: int) -> tuple[int, list[Mapping[str, Tensor]]] | Unreadable:
        try:
            return group, [self.preprocess(open_rgb(image)) for image in self.groups[group]]
        except DataError as error:
            return Unreadable(group, error.problem, error.remedy)

    def bytes_of_one(self) -> int:
        """Return how large a group is once it is decoded: the first that can be, of the first few."""
        for group in range(min(LOOKED_AT, len(self))):
            made = self[group]
            if not isinstance(made, Unreadable):
                return sum(tensor.nbytes for sample in made[1] for tensor in sample.values())
        return 0


def _collate(items: list[Any]) -> tuple[Batch | None, list[Unreadable]]:
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    good = [item for item in items if not isinstance(item, Unreadable)]
    if not good:
        return None, unreadable
    samples = [group[k] for k in range(len(good[0][1])) for _, group in good]
    inputs = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    return Batch(tuple(group for group, _ in good), inputs, None), unreadable  # the model masks it, in its process


def image_batches(
    model: Model,
    groups: Sequence[tuple[ImageSource, ...]],
    *,
    batch_size: int,
    workers: int,
    on_unreadable: Sink = refuse_unreadable,
) -> Iterator[Batch]:
    """Yield batches of `batch_size` groups, in order; a group with an unreadable image goes to `on_unreadable`.

    Raises:
        WorkersUnusableError: workers cannot hand over batches of this size; with `workers=0` it works.
        ModelError: a worker was killed.
    """
    images = _Images(groups, model.image_preprocessor())
    workers = min(workers, -(-len(groups) // batch_size))
    if workers:
        require_shared_memory(min(batch_size, len(groups)) * images.bytes_of_one(), workers)

    def start() -> Iterable[tuple[Batch | None, list[Unreadable]]]:
        return DataLoader(
            images,
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=_collate,
            timeout=PATIENCE if workers else 0,
        )

    for batch, unreadable in made_by(start, workers):
        for item in unreadable:
            on_unreadable(item)
        if batch is not None:
            moved = {name: tensor.to(model.device, non_blocking=True) for name, tensor in batch.inputs.items()}
            yield Batch(batch.groups, moved, model.image_mask(moved))


def text_batches(
    model: Model, groups: Sequence[tuple[str, ...]], *, batch_size: int, tokens: str = "real"
) -> Iterator[Batch]:
    """Yield batches of `batch_size` groups, shortest first, so that little of a batch is padding."""
    width = len(groups[0]) if groups else 0
    ids = model.tokenize([text for group in groups for text in group])
    rows = [ids[start : start + width] for start in range(0, len(ids), width or 1)]
    order = sorted(range(len(groups)), key=lambda group: (max(map(len, rows[group])), group))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs, mask = model.text_inputs([rows[group][k] for k in range(width) for group in chosen], tokens)
        moved = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        yield Batch(tuple(chosen), moved, mask.to(model.device))
