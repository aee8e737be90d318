"""Look at patches, from Python, without torch: what each is, and how far several chose the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.files.paths import user_path
from editkit.patch.summary import PatchSummary

if TYPE_CHECKING:
    from editkit.patch.overlap import PairOverlap


@dataclass(frozen=True)
class Shown:
    """Patches, and the overlap of every two of them in the order given: none for a patch alone."""

    patches: tuple[PatchSummary, ...]
    overlap: tuple[PairOverlap, ...]


def show(patch: str | Path, *others: str | Path) -> Shown:
    """Return what a patch is: its recipe, and per site what was selected; of several, how far they chose the same.

    Raises:
        PatchError: one of them is no patch or is damaged, or two of them cannot be compared.

    Example:
        >>> [site["share"] for site in show("patch").patches[0].sites]
        >>> show("one", "other").overlap[0].everywhere.times_chance
    """
    if not others:
        return Shown((PatchSummary.read(patch),), ())
    from editkit.patch.overlap import compare_all

    folders = [user_path(folder) for folder in (patch, *others)]
    records, pairs = compare_all(folders)
    return Shown(tuple(map(PatchSummary.of, folders, records)), tuple(pairs))
