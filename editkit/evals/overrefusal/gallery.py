"""Own-item recall in a mixed gallery: does a caption find its image first among all safe and unsafe items, and back?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from editkit.evals.embeddings import Bools, Floats, Integers, TupleEmbeddings
from editkit.evals.retrieval import ranks

SAFE, UNSAFE = 0, 1


class Gallery:
    """The items of one modality of several sets of tuples, safe ones first; equal ones are there once."""

    def __init__(self, sets: Sequence[TupleEmbeddings], *, texts: bool) -> None:
        """Take the captions or the images of `sets`, whose contents are known."""
        sides = [(e, side) for side in (SAFE, UNSAFE) for e in sets]
        contents = np.concatenate([contents_of(e, side, texts=texts) for e, side in sides])
        items = np.concatenate([_items(e, side, texts=texts) for e, side in sides])
        self.contents, first = np.unique(contents, return_index=True)
        order = np.argsort(first)
        self.items: Floats = items[first[order]]
        self._place = np.empty(len(order), dtype=np.int64)
        self._place[order] = np.arange(len(order))

    def __len__(self) -> int:
        return len(self.items)

    def finds(self, queries: Floats, own: Integers) -> Bools:
        """[n, D], [n] -> [n]: whether the most similar item is the query's own.

        Args:
            own: the number of the own item's content.
        """
        found: Bools = ranks(queries, self.items, self._place[np.searchsorted(self.contents, own)]) == 1
        return found


def contents_of(e: TupleEmbeddings, side: int, *, texts: bool) -> Integers:
    """[n]: the numbers of the captions or images of one side."""
    assert e.contents is not None  # of embedded tuples they are known
    numbers: Integers = e.contents[:, 2 * texts + side]
    return numbers


def _items(e: TupleEmbeddings, side: int, *, texts: bool) -> Floats:
    if texts:
        return e.unsafe_texts if side else e.safe_texts
    return e.unsafe_images if side else e.safe_images
