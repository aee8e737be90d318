"""What a probe is asked of embeddings: whether an item is unsafe, and which concept an unsafe one has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from editkit.evals.embeddings import MODALITIES, Floats, Integers, TupleEmbeddings
from editkit.evals.restoration.probe import FOLDS, folds_of

FEWEST = 2 * FOLDS
"""Tuples of a concept, so that every fold has two; and of all."""


@dataclass(frozen=True)
class Question:
    """One question about one modality, on m items.

    `sides` are the parts of the embeddings that they come from, `rows` the tuples that are taken of each; `classes`,
    `folds` and `tuples` [m] are their answers, their folds and their tuples, each numbered from 0.
    """

    name: str
    sides: tuple[str, ...]
    rows: Integers
    classes: Integers
    folds: Integers
    tuples: Integers

    def items(self, e: TupleEmbeddings) -> Floats:
        """[m, D]: the items in a model's embeddings."""
        return np.concatenate([getattr(e, side)[self.rows] for side in self.sides])

    @property
    def chance(self) -> float:
        """The share of the largest class, in per cent."""
        return 100 * float(np.bincount(self.classes).max()) / len(self.classes)


def questions_of(concepts: Sequence[str], seed: int) -> Iterator[Question]:
    """Return the questions about n tuples with these concepts: `unsafe:text`, `unsafe:image`, `concept:text`, ...

    The concept is asked where two concepts have `FEWEST` tuples; the tuples of others are left out.
    """
    names = np.asarray(concepts, dtype=object).astype(str)
    _, which, counts = np.unique(names, return_inverse=True, return_counts=True)
    rows, folds = np.arange(len(which)), folds_of(which, seed)
    for modality, sides in MODALITIES.items():
        classes = np.repeat([0, 1], len(rows))
        yield Question(f"unsafe:{modality}", sides, rows, classes, np.tile(folds, 2), np.tile(rows, 2))
    enough = counts >= FEWEST
    if np.count_nonzero(enough) > 1:
        kept = np.flatnonzero(enough[which])
        _, classes = np.unique(which[kept], return_inverse=True)
        for modality, (_, unsafe) in MODALITIES.items():
            yield Question(
                f"concept:{modality}", (unsafe,), kept, classes, folds_of(classes, seed), np.arange(len(kept))
            )
