"""`zeroshot`: the benchmarks of a profile that lie below one folder, each as a set of labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from editkit.data.classes import ClassSet, require_images
from editkit.data.readers.content import Content
from editkit.data.readers.folders import read_folders
from editkit.data.readers.hub_table import PREFIX
from editkit.data.readers.parquet import read_parquet
from editkit.data.readers.shards import read_shards
from editkit.data.readers.torchvision import read_torchvision
from editkit.data.readers.videos import read_videos
from editkit.data.tuples import LeftOut
from editkit.data.zeroshot.catalogue import UNWANTED, DiskLayout, SetFacts, sets_of
from editkit.data.zeroshot.download import download
from editkit.data.zeroshot.names import REVERSED, imagenet
from editkit.data.zeroshot.options import Profile, ZeroshotOptions
from editkit.errors import DataError, EditkitError, did_you_mean
from editkit.files.paths import start_of


@dataclass(frozen=True)
class NamedSet:
    """One set, what the profile says about it, and what of that does not hold here."""

    facts: SetFacts
    data: ClassSet
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassSets:
    """Several sets of labelled images that are reported in one table.

    `missing`: the profile's sets that are not here, each with the reason; `of` is how many the profile has.
    """

    name: str
    profile: str
    of: int
    sets: tuple[NamedSet, ...]
    missing: tuple[LeftOut, ...] = ()
    split: str = "all"
    """Each set has one split, which the profile chooses."""

    def select(self, limit: int | None = None, seed: int = 0) -> ClassSets:
        """Draw at most `limit` images of each set."""
        return replace(self, sets=tuple(replace(one, data=one.data.select(limit, seed)) for one in self.sets))


class Zeroshot:
    """The sets of a profile below one folder."""

    def __init__(self, options: ZeroshotOptions) -> None:
        self.options = options
        self.facts = sets_of(options.profile)

    def load(self, split: str) -> ClassSets:
        """Read the sets that were asked for, or all that are there.

        Args:
            split: ignored; a profile says which split of each set is scored.

        Raises:
            DataError: no such folder or set, no set at all, a set that was asked for and is not there, or a missing
                image (`on_bad_item="error"`).
            InstallError: a set that was asked for needs a library that is not installed.
        """
        asked = self._asked()
        place = str(self.options.path)
        on_hub, root = place.startswith(PREFIX), Path(place)
        if on_hub and self.options.profile == "uwm":
            raise DataError(
                f"{place}: the sets of profile uwm are no hub data sets.",
                "Add --profile clip-benchmark, or give a folder.",
            )
        if on_hub and not self.options.sets:
            raise DataError(
                f"{place} has {len(self.facts)} sets, some of many gigabytes.",
                f"Say which to download: --sets {','.join(list(self.facts)[:2])}. All: {', '.join(self.facts)}.",
            )
        if not on_hub and not root.is_dir():
            raise DataError(
                f"There is no folder {root}{start_of(root)}.",
                "Give the folder that holds the sets: --data zeroshot:DIR",
            )
        found: list[NamedSet] = []
        missing: list[LeftOut] = []
        for facts in asked:
            try:
                if on_hub:
                    content = read_shards(download(place.removeprefix(PREFIX), facts.hub))
                else:
                    content = read_set(facts, root)
                found.append(self._named(facts, content))
            except EditkitError as error:
                if self.options.sets:
                    if not on_hub and (hint := self._other_profile(root, facts.key)):
                        raise DataError(error.problem, hint) from error
                    raise
                missing.append(LeftOut(facts.key, f"{error.problem} {error.remedy}"))
        if not found:
            problem = f"{root} holds none of the {len(asked)} sets of profile {self.options.profile}"
            if hint := self._other_profile(root):
                raise DataError(f"{problem}, but sets of another one.", hint)
            raise DataError(f"{problem}.", f"{missing[0].id}: {missing[0].reason}")
        missing += [LeftOut(key, UNWANTED) for key in self.facts if key not in {one.key for one in asked}]
        return ClassSets("zeroshot", self.options.profile, len(self.facts), tuple(found), tuple(missing))

    def _asked(self) -> list[SetFacts]:
        keys = self.options.sets or tuple(self.facts)
        for key in keys:
            if key not in self.facts:
                raise DataError(
                    f"Profile {self.options.profile} has no set '{key}'.{did_you_mean(key, self.facts)}",
                    f"Its sets: {', '.join(self.facts)}.",
                )
        return [facts for key, facts in self.facts.items() if key in keys]  # in the order of the table

    def _other_profile(self, root: Path, *keys: str) -> str:
        """Say which other profile's layout the folder has, of some sets or of any; nothing where it has none's."""
        for profile in get_args(Profile):
            sets = sets_of(profile)
            here = [key for key in keys or sets if key in sets and is_there(sets[key], root)]
            if here and profile != self.options.profile:
                return f"{', '.join(here)} lie there as profile {profile} has them: add --profile {profile}"
        return ""

    def _named(self, facts: SetFacts, content: Content) -> NamedSet:
        data = require_images(content, facts.title, self.options.on_bad_item)
        templates = (facts.template,) if facts.template else content.templates
        data = replace(
            data,
            classes=tuple(facts.rename.get(name, name) for name in data.classes),
            template=templates[0],
            ensemble=templates[1:],
            # CLIP Benchmark's prompts take its names as they are
            underscores="spaces" if self.options.profile == "uwm" else "kept",
        )
        return NamedSet(facts, data, _differences(facts, data))


def read_set(facts: SetFacts, root: Path) -> Content:
    """Read a set in the first of its layouts that is there.

    Raises:
        DataError: it is there in none of them, or cannot be read.
        InstallError: its reader needs a library that is not installed.
    """
    if found := _found(facts, root):
        return read_layout(*found)
    markers = " or ".join(layout.marker for layout in facts.ways())
    raise DataError(f"{facts.title} is not in {root} (no {markers}).", f"It comes from {facts.origin}")


def is_there(facts: SetFacts, root: Path) -> bool:
    """Whether a folder holds a set in one of its layouts."""
    return _found(facts, root) is not None


def _found(facts: SetFacts, root: Path) -> tuple[DiskLayout, Path] | None:
    return next(((layout, base) for layout in facts.ways() if (base := layout.find(root)) is not None), None)


def read_layout(layout: DiskLayout, base: Path) -> Content:
    """Read a set from the folder that has its marker."""
    folder = base / layout.folder
    if layout.reader == "folders":
        return read_folders(folder, imagenet(layout.names))
    if layout.reader == "shards":
        return read_shards(folder)
    if layout.reader == "parquet":
        return read_parquet(sorted(base.glob(layout.marker)), layout.image, layout.label)
    if layout.reader == "videos":
        return read_videos(base)
    content = read_torchvision(base, layout.dataset, layout.arguments, layout.each)
    if layout.names != REVERSED:
        return content
    return replace(content, names=tuple(" ".join(reversed(name.split("/"))) for name in content.names))


def _differences(facts: SetFacts, data: ClassSet) -> tuple[str, ...]:
    """Say how a copy differs from the set that others report on."""
    here: Mapping[str, tuple[int, int]] = {
        "images": (len(data.ids) + len(data.left_out), facts.images),
        "classes": (len(data.classes), facts.classes),
    }
    wrong = [
        f"{there:,} {what} (the whole set has {whole:,})" for what, (there, whole) in here.items() if there != whole
    ]
    return (f"{facts.title}: this copy has {' and '.join(wrong)}.",) if wrong else ()
