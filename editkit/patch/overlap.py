"""How far two patches of one model chose the same weights, beside what chance alone would give. Numpy only.

At a site of n weights, with A and B the sets that the two patches changed, a and b their sizes:

    Jaccard = |A n B| / |A u B|           expected |A n B| of two random sets of these sizes = a b / n
    chance  = (a b / n) / (a + b - a b / n)

A weight is chosen if its bits changed; one that an edit left as it was (a zero set to zero) does not count. Jaccard,
"The distribution of the flora in the alpine zone" (1912); the expectation is the hypergeometric distribution's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from editkit.errors import PatchError
from editkit.files.shard import Bits
from editkit.patch.patch import Patch


@dataclass(frozen=True)
class Overlap:
    """Counts at one site or summed over several: of `size` weights, A chose `a`, B chose `b`, both chose `both`.

    `expected` is what `both` would be for random choices of as many weights at every site.
    """

    size: int
    a: int
    b: int
    both: int
    expected: float

    @property
    def jaccard(self) -> float | None:
        """|A n B| / |A u B|, 0 to 1; None where neither chose anything."""
        return self.both / union if (union := self.a + self.b - self.both) else None

    @property
    def chance(self) -> float | None:
        """The Jaccard index of two random choices; None where neither chose anything.

        It is the ratio of expectations. The expectation of the ratio is never below it, and to second order lies above
        by at most the 4 / (a + b)-th part: by 0.04 % for two choices of 5,000 weights.
        """
        return self.expected / (self.a + self.b - self.expected) if self.a + self.b else None

    @property
    def times_chance(self) -> float | None:
        """Jaccard over chance; None where chance is 0."""
        return self.jaccard / self.chance if self.jaccard is not None and self.chance else None


@dataclass(frozen=True)
class TensorPart:
    """What a patch's record calls a site: elements [start, stop) of a stored tensor, row by row.

    `described` is the record's entry, empty for a tensor that the record says nothing about.
    """

    name: str
    key: str
    start: int
    stop: int
    described: Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """What one patch chose: sorted flat positions by tensor, and the sites these belong to."""

    name: str
    record: dict[str, Any]
    chosen: Mapping[str, Bits]
    parts: tuple[TensorPart, ...]

    @classmethod
    def of(cls, patch: Patch, name: str) -> Selection:
        """Take from a patch what a comparison needs, 4 bytes per chosen weight; `name` is for messages."""
        chosen = {}
        for key, change in patch.changes.items():
            places = np.flatnonzero(change.before != change.after)
            narrow = np.uint32 if change.size <= 2**32 else np.uint64
            chosen[key] = places.astype(narrow) if change.index is None else change.index[places]
        return cls(name, patch.record, chosen, tuple(parts_of(patch.record)))

    def within(self, key: str, start: int, stop: int) -> Bits:
        """The chosen positions in [start, stop) of one tensor, counted from `start`."""
        places: Bits = self.chosen[key]
        first, last = np.searchsorted(places, (start, stop))
        found: Bits = places[first:last] - places.dtype.type(start)
        return found


@dataclass(frozen=True)
class SiteOverlap:
    """The overlap at one site, and what each patch's record says about its own choice there."""

    name: str
    key: str
    counts: Overlap
    described: tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class PairOverlap:
    """The overlap of two patches: per common site, over all of these, and how many weights each chose elsewhere."""

    names: tuple[str, str]
    sites: tuple[SiteOverlap, ...]
    everywhere: Overlap
    elsewhere: tuple[int, int]


def compare_all(folders: Sequence[Path]) -> tuple[list[dict[str, Any]], list[PairOverlap]]:
    """Load patches one after the other; return their records and the overlap of every two, in the order given.

    Raises:
        PatchError: a damaged patch, or two that cannot be compared.
    """
    selections = [Selection.of(Patch.load(folder), str(folder)) for folder in folders]
    return [selection.record for selection in selections], [compare(a, b) for a, b in combinations(selections, 2)]


def compare(a: Selection, b: Selection) -> PairOverlap:
    """Compare two patches wherever a site of one meets a site of the other.

    Where one patch names a whole tensor and the other some rows of it (q, k or v in a fused tensor), those rows are
    compared. Biases count only for a patch whose record names no site.

    Raises:
        PatchError: the patches were made from different weights, or have no site in common.
    """
    require_same_base(a, b)
    sites = []
    for one in a.parts:
        for other in (part for part in b.parts if part.key == one.key):
            start, stop = max(one.start, other.start), min(one.stop, other.stop)
            if start < stop:
                name = min(one, other, key=lambda part: part.stop - part.start).name
                counts = count(a.within(one.key, start, stop), b.within(one.key, start, stop), stop - start)
                sites.append(SiteOverlap(name, one.key, counts, (one.described, other.described)))
    if not sites:
        raise PatchError(
            f"{a.name} and {b.name} have no site in common, so there is no overlap to measure: the first edits "
            f"{_some(a)}, the second {_some(b)}.",
            "Compare patches that edit the same sites; `editkit show PATCH` lists those of one.",
        )
    everywhere = total([site.counts for site in sites])
    elsewhere = _chosen(a) - everywhere.a, _chosen(b) - everywhere.b
    return PairOverlap((a.name, b.name), tuple(sites), everywhere, elsewhere)


def count(a: Bits, b: Bits, size: int) -> Overlap:
    """Count two choices among `size` weights.

    Args:
        a: [a] positions of one choice, each once, below `size`.
        b: [b] those of the other.
        size: how many weights there were to choose from.
    """
    in_a = np.zeros(size, bool)  # one byte a weight: for large choices many times as fast as sorting both together
    in_a[a] = True
    return Overlap(size, a.size, b.size, int(np.count_nonzero(in_a[b])), a.size * b.size / size)


def total(counts: Sequence[Overlap]) -> Overlap:
    """Sum over sites; chance keeps each site's number of weights, as the controls of an evaluation do."""
    a, b, both = (sum(numbers) for numbers in zip(*((one.a, one.b, one.both) for one in counts), strict=True))
    return Overlap(sum(one.size for one in counts), a, b, both, sum(one.expected for one in counts))


def require_same_base(a: Selection, b: Selection) -> None:
    """Check that two patches belong to the same weights, as far as their records tell.

    Raises:
        PatchError: the models' digests differ, or a tensor that both touch was another one before.
    """
    remedy = "Compare patches of one and the same checkpoint."
    touched = a.record["base"]["touched"], b.record["base"]["touched"]
    for key in sorted(touched[0].keys() & touched[1].keys()):
        one, other = (entries[key] for entries in touched)
        kinds = [f"{entry['dtype']} {list(entry['shape'])}" for entry in (one, other)]
        if kinds[0] != kinds[1]:
            what = f"'{key}' is {kinds[0]} in the one and {kinds[1]} in the other"
            raise PatchError(f"{a.name} and {b.name} are edits of different models: {what}.", remedy)
        if one["before"] != other["before"]:
            what = f"the weights of '{key}' are not the same"
            raise PatchError(f"{a.name} and {b.name} are edits of different models: {what}.", remedy)
    identities = [model.get("identity") for s in (a, b) if isinstance(model := s.record.get("model"), Mapping)]
    if len(identities) == 2 and all(identities) and identities[0] != identities[1]:
        what = "tensors that they do not both edit differ"
        raise PatchError(f"{a.name} and {b.name} are edits of different models: {what}.", remedy)


def parts_of(record: Mapping[str, Any]) -> list[TensorPart]:
    """Return the sites of a patch's record that it changed, each as a range of a stored tensor.

    A tensor of which some site cannot be placed (records without `tensor_rows`, other tools') is one part, named by
    its key; so is every touched tensor if the record has no sites.
    """
    touched = record["base"]["touched"]
    listed = record.get("sites") if isinstance(record.get("sites"), list) else []
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for site in listed or ():
        if isinstance(site, Mapping) and isinstance(site.get("key"), str) and site["key"] in touched:
            by_key.setdefault(site["key"], []).append(site)
    if not by_key:
        return [_whole(key, entry["shape"]) for key, entry in touched.items()]
    found = []
    for key, sites in by_key.items():
        shape = touched[key]["shape"]
        parts = [part for site in sites if (part := _part(site, key, shape)) is not None]
        ordered = sorted(parts, key=lambda part: part.start)
        apart = all(before.stop <= after.start for before, after in pairwise(ordered))
        found += parts if len(parts) == len(sites) and apart else [_whole(key, shape)]
    return found


def _part(site: Mapping[str, Any], key: str, shape: Sequence[int]) -> TensorPart | None:
    """Place a site in its tensor; None where the record does not say how, or says what cannot be."""
    rows, row = site.get("tensor_rows"), prod(shape[1:])
    try:
        first, last = rows if rows is not None else (0, shape[0] if shape else 1)
        part = TensorPart(str(site.get("site", key)), key, int(first) * row, int(last) * row, site)
        fits = part.stop - part.start == prod(site["shape"]) and 0 <= part.start < part.stop <= prod(shape)
    except (KeyError, TypeError, ValueError):
        return None
    return part if fits else None


def _whole(key: str, shape: Sequence[int]) -> TensorPart:
    return TensorPart(key, key, 0, prod(shape), {})


def _chosen(selection: Selection) -> int:
    return sum(selection.within(part.key, part.start, part.stop).size for part in selection.parts)


def _some(selection: Selection) -> str:
    names = [part.name for part in selection.parts]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
