"""`check_dataset`: a data set that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of
from models import table

from editkit.components.specs import DatasetOptions, DatasetSpec
from editkit.data.classes import ClassSet
from editkit.data.readers.images import ImageBytes
from editkit.data.tuples import Item, LeftOut, TupleSet
from editkit.errors import DataError
from editkit.testing import UncheckedError, check_dataset
from editkit.testing.dataset_contract import CLAUSES, what_cannot_be_loaded_says_why


class LinesOptions(DatasetOptions):
    path: Path
    concepts: Path | None = None


class Sound:
    """Tuples from FOLDER/SPLIT.txt, one a line: a safe and an unsafe caption with a tab between."""

    def __init__(self, options: LinesOptions) -> None:
        self.options = options

    def load(self, split: str) -> Any:
        items: list[Item] = []
        left_out: list[LeftOut] = []
        for number, line in enumerate(self.lines(split)):
            safe, _, unsafe = line.partition("\t")
            if unsafe:
                items.append(self.item(str(number), safe, unsafe))
            elif self.options.on_bad_item == "error":
                raise DataError(f"Line {number} has one caption.", "Correct it.")
            else:
                left_out.append(LeftOut(str(number), "one caption"))
        return TupleSet("lines", split, tuple(items), tuple(left_out))

    def lines(self, split: str) -> list[str]:
        file = self.options.path / f"{split}.txt"
        if not file.is_file():
            raise DataError(f"There is no {file}.", "Give the folder that has it.")
        return file.read_text().splitlines()

    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        return Item(identifier, None, None, safe, unsafe, "all")


class FailsToOpen(Sound):
    def lines(self, split: str) -> list[str]:
        return Path("nowhere.txt").read_text().splitlines()


class GivesAList(Sound):
    def load(self, split: str) -> Any:
        return list(super().load(split).items)


class GivesNothing(Sound):
    def load(self, split: str) -> Any:
        return replace(super().load(split), items=())


class HasNoConcept(Sound):
    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        return Item(identifier, None, None, safe, unsafe, None)  # type: ignore[arg-type]


class NamesImages(Sound):
    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        return Item(identifier, "safe.jpg", "unsafe.jpg", safe, unsafe, "all")  # type: ignore[arg-type]


class NamesMissingImages(Sound):
    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        return Item(identifier, Path("safe.jpg"), Path("unsafe.jpg"), safe, unsafe, "all")


class CallsAllAlike(Sound):
    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        return super().item("tuple", safe, unsafe)


class Shuffles(Sound):
    def load(self, split: str) -> Any:
        data = super().load(split)
        return replace(data, items=tuple(random.sample(data.items, len(data.items))))


class Dates(Sound):
    loads: ClassVar[list[str]] = []

    def item(self, identifier: str, safe: str, unsafe: str) -> Item:
        self.loads.append(identifier)
        return super().item(identifier, f"{safe} {len(self.loads)}", unsafe)


class TakesAnySplit(Sound):
    def lines(self, split: str) -> list[str]:
        return super().lines("test") if split == "test" else ["another\tset"]


class ReadsBeforeItLooks(Sound):
    def lines(self, split: str) -> list[str]:
        (self.options.path / "concepts.txt").read_text()
        return super().lines(split)


class IgnoresWhatIsMissing(Sound):
    def lines(self, split: str) -> list[str]:
        if self.options.concepts is not None and self.options.concepts.is_file():
            return super().lines(split)
        return super().lines(split)[:1]


class LeavesOutInSilence(Sound):
    def load(self, split: str) -> Any:
        return replace(super().load(split), left_out=())


class LeavesOutWhatShouldStopIt(Sound):
    def load(self, split: str) -> Any:
        self.options = self.options.model_copy(update={"on_bad_item": "skip"})
        return super().load(split)


class SoundClasses:
    """Six labelled images in memory."""

    labels: tuple[int, ...] = (0, 1, 2, 0, 1, 2)
    ids: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")
    template = "a {}"

    def __init__(self, options: DatasetOptions) -> None:
        self.options = options

    def load(self, split: str) -> Any:
        images = tuple(ImageBytes(bytes([place]), str(place)) for place in range(6))
        return ClassSet("six", ("cat", "dog", "bird"), self.template, images, self.labels, self.ids)


class LabelsOfNoClass(SoundClasses):
    labels = (0, 1, 2, 3, 1, 2)


class TooFewLabels(SoundClasses):
    labels = (0, 1, 2)


class NoPlaceForAName(SoundClasses):
    template = "a cat"


class OneIdForAll(SoundClasses):
    ids = ("a",) * 6


CONTENT = {"content": "classes"}
BROKEN = (
    Broken(FailsToOpen, "what cannot be loaded says why", "FileNotFoundError"),
    Broken(GivesAList, "a split is what content says", "it is a list"),
    Broken(Sound, "a split is what content says", "it is a TupleSet", CONTENT),
    Broken(GivesNothing, "a split is what content says", "lines is empty"),
    Broken(HasNoConcept, "items are complete", "concept of '0' is None"),
    Broken(NamesImages, "items are complete", "safe_image of '0' is 'safe.jpg'"),
    Broken(LabelsOfNoClass, "items are complete", "label [3] is of none of 3 classes", CONTENT),
    Broken(TooFewLabels, "items are complete", "6 images have 3 labels and 6 ids", CONTENT),
    Broken(NoPlaceForAName, "items are complete", "templates are ('a cat',)", CONTENT),
    Broken(NamesMissingImages, "images are there", "there is no file safe.jpg"),
    Broken(CallsAllAlike, "ids are unique", "1 ids are those of several items, first 'tuple'"),
    Broken(OneIdForAll, "ids are unique", "ids are those of several items, first 'a'", CONTENT),
    Broken(Shuffles, "loading twice gives the same", "ids, or their order, differ"),
    Broken(Dates, "loading twice gives the same", "fingerprints differ"),
    Broken(TakesAnySplit, "an unknown split is a data error", "'no such place' is loaded, and is not 'test'"),
    Broken(ReadsBeforeItLooks, "a missing path is a data error", "no such place raises FileNotFoundError"),
    Broken(IgnoresWhatIsMissing, "a missing path is a data error", "no such place is loaded"),
    Broken(LeavesOutInSilence, "an unusable item stops or is left out", "and 'skip' names none"),
    Broken(LeavesOutWhatShouldStopIt, "an unusable item stops or is left out", "'error' leaves out [LeftOut(id='20'"),
)


@pytest.fixture
def options(tmp_path: Path) -> Mapping[str, Any]:
    """A folder of 20 tuples and a line that is none, and options to read it."""
    lines = [f"a dog {number}\ta knife {number}" for number in range(20)]
    (tmp_path / "test.txt").write_text("\n".join([*lines, "half a tuple"]))
    (tmp_path / "concepts.txt").write_text("all")
    return {"path": tmp_path, "concepts": tmp_path / "concepts.txt", "on_bad_item": "skip"}


def test_the_sample_keeps_its_promises(options: Mapping[str, Any]) -> None:
    check_dataset(spec_of(DatasetSpec, Sound, options=LinesOptions), {**options, "concepts": None})
    check_dataset(spec_of(DatasetSpec, SoundClasses, **CONTENT))


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken, options: Mapping[str, Any]) -> None:
    if broken.component.__mro__[-2] is SoundClasses:
        assert_told(check_dataset, DatasetSpec, broken)
        return
    given = options if broken.component is IgnoresWhatIsMissing else {**options, "concepts": None}
    assert_told(check_dataset, DatasetSpec, replace(broken, fields={**broken.fields, "options": LinesOptions}), given)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of((what_cannot_be_loaded_says_why, *CLAUSES))


def test_data_that_cannot_be_loaded_are_no_breach(options: Mapping[str, Any]) -> None:
    spec = spec_of(DatasetSpec, Sound, options=LinesOptions)
    with pytest.raises(UncheckedError, match=r"There is no .*train\.txt"):
        check_dataset(spec, options, split="train")
    with pytest.raises(UncheckedError, match="Line 20 has one caption"):
        check_dataset(spec, {**options, "on_bad_item": "error"})


@pytest.mark.parametrize("way", ["error", "skip"])
def test_tables_of_tuples_and_folders_of_images_keep_theirs(tmp_path: Path, way: str) -> None:
    file = table(tmp_path)
    if way == "skip":
        next(tmp_path.glob("safe-*.jpg")).unlink()
    check_dataset("pairs", {"path": file, "on_bad_item": way})
    images = sorted(image.name for image in tmp_path.glob("*.jpg"))
    (tmp_path / "t.csv").write_text("image,label\n" + "".join(f"{name},{name.split('-')[0]}\n" for name in images))
    (tmp_path / "set.yaml").write_text("name: two\nclasses: [safe, unsafe]\ntemplate: a {} thing\ntable: t.csv\n")
    check_dataset("classes", {"path": tmp_path / "set.yaml", "on_bad_item": way})
