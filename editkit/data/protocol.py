"""What a data set must offer."""

from __future__ import annotations

from typing import Protocol

from editkit.data.classes import ClassSet
from editkit.data.queries import QuerySet
from editkit.data.tuples import TupleSet
from editkit.data.zeroshot.sets import ClassSets

Evaluated = TupleSet | ClassSet | ClassSets
"""What an evaluation is of: tuples (`content="tuples"` in the spec), or labelled images: one set, or several that are
reported in one table."""
AnyData = Evaluated | QuerySet
"""These, or queries, which go with tuples."""


class Dataset(Protocol):
    """Built as `Dataset(options)`, which reads nothing."""

    def load(self, split: str) -> AnyData:
        """Read a split: what there is, and by name what had to be left out. Images are opened later.

        Args:
            split: "train", "test" or another name of the data set's own; one without splits ignores it.

        Raises:
            DataError: there is no such split, or something of it cannot be used and is not to be skipped.
        """
