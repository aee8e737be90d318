"""Robustness: SafeGround and exposure slice by slice: what holds for the tuples as they come may not hold for all.

A slice is a part of the data that was put together to differ in one respect: other wordings, one cue without the other,
concepts that no edit was fitted to. Of each slice

    GS, PS                  as SafeGround defines them
    safe captions T-V@k     unsafe@k of the slice's safe captions among its own images, safe and unsafe
    safe images V-T@k       unsafe@k of its safe images among its own captions

as Exposure defines it. The gallery is the slice's own: where it has no more than k items, all of them are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from editkit.evals.embeddings import Bools, TupleEmbeddings
from editkit.evals.exposure import Exposure, Scores
from editkit.evals.options import ExposureOptions, RobustnessOptions
from editkit.evals.safeground import SafeGround

Value = TypeVar("Value")
PREFERENCES = ("GS", "PS")


class Robustness:
    """Preferences and exposure of the tuples of one slice."""

    def __init__(self, options: RobustnessOptions | None = None) -> None:
        options = options or RobustnessOptions()
        self.slices = options.slice
        self.safeground = SafeGround()
        self.exposure = Exposure(
            ExposureOptions(ks=(options.k,), directions=("T-V", "V-T"), kinds=("safe captions", "safe images"))
        )

    def takes(self, name: str) -> bool:
        """Whether a slice is to be measured."""
        return any(fnmatchcase(name, pattern) for pattern in self.slices)

    def hits(self, embeddings: TupleEmbeddings) -> dict[str, Bools | Scores]:
        """[n] bool for each of `PREFERENCES`, float64 for exposure."""
        return _shown({**self.safeground.hits(embeddings), **self.exposure.hits(embeddings)})

    def chance(self, embeddings: TupleEmbeddings) -> dict[str, dict[str, float]]:
        """Per cent of two models that know nothing, as SafeGround and Exposure say."""
        own, other = self.safeground.chance(embeddings), self.exposure.chance(embeddings)
        return {row: _shown({**own[row], **other[row]}) for row in own}

    def groups(self, embeddings: TupleEmbeddings) -> tuple[str, ...]:
        """The concept of each tuple."""
        return embeddings.concepts


def _shown(values: Mapping[str, Value]) -> dict[str, Value]:
    """Keep what a slice is told by: two preferences, and unsafe@k."""
    return {name: value for name, value in values.items() if name in PREFERENCES or "V@" in name or "T@" in name}
