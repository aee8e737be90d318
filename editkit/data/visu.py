"""`visu`: the ViSU tuples of Safe-CLIP (Poppi et al., 2024), and any set laid out like them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editkit.data.options import VisuOptions
from editkit.data.tuples import Item, LeftOut, TupleSet, refuse_if_most_are_missing, same_spelling
from editkit.errors import DataError, did_you_mean
from editkit.files.paths import start_of
from editkit.files.whole_text import half_pair

ALIASES = {"bodily fluids": "bodily bluids", "child abuse": "abuse"}
"""Other spellings of ViSU's tags; the canonical name is the one in the data, misspelling included."""

FILE_NAME = re.compile(r"ViSU-Text_(.+)\.json")
COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})\.jpg")


@dataclass(frozen=True)
class Element:
    """One entry of a ViSU file."""

    incremental_id: int
    coco_id: int
    safe: str
    unsafe: str
    concept: str
    slice: str = ""


class Visu:
    """ViSU's captions with COCO's safe images and one's own unsafe images, which were never released."""

    def __init__(self, options: VisuOptions) -> None:
        self.options = options
        self.file = options.path
        folder = self.file.parent if self.file.suffix == ".json" else self.file
        self.coco = options.coco or folder / "coco"
        self.unsafe = options.unsafe or folder / "unsafe"

    def load(self, split: str) -> TupleSet:
        """Read the captions of a split and find its images.

        A missing image is None in its item, which then still serves the text tower, and is named in `left_out`.
        Where `path` is a file called ViSU-Text_NAME.json, the split is NAME, whatever `split` says.

        Raises:
            DataError: no such file or split, an unreadable or empty file, no folder for the images; an unusable
                element or missing image (`on_bad_item="error"`), or more than half of them.
        """
        file, split = self._find(split)
        raw = read_elements(file)
        images = self._index_images(split) if self.options.images else None
        items: dict[str, Item] = {}
        left_out: list[LeftOut] = []
        for number, value in enumerate(raw, 1):
            try:
                element = parse_element(value)
                if str(element.incremental_id) in items:
                    raise ValueError(f"a second element with incremental_id {element.incremental_id}")
            except ValueError as error:
                self._note(file, left_out, LeftOut(f"element {number}", str(error)))
                continue
            item, missing = self._item(element, split, images)
            if missing:
                self._note(file, left_out, LeftOut(item.id, "; ".join(missing)))
            items[item.id] = item
        refuse_if_most_are_missing(file.name, left_out, len(raw), self._roots())
        return TupleSet(self.options.name, split, tuple(items.values()), tuple(left_out), ALIASES)

    def _find(self, split: str) -> tuple[Path, str]:
        """Return the JSON file and the split it holds."""
        if self.file.suffix == ".json":
            named = FILE_NAME.fullmatch(self.file.name)
            file, split = self.file, named[1] if named else split
        else:
            file = self.file / f"ViSU-Text_{split}.json"
        if not file.is_file():
            there = sorted(found[1] for name in self._names() if (found := FILE_NAME.fullmatch(name)))
            known = f"Splits there: {', '.join(there)}." if there else "Give the folder that holds ViSU's JSON files."
            raise DataError(f"There is no {file}{start_of(file)}.{did_you_mean(split, there)}", known)
        return file, split

    def _names(self) -> list[str]:
        return [entry.name for entry in self.file.iterdir()] if self.file.is_dir() else []

    def _index_images(self, split: str) -> dict[int, Path]:
        for root in (self.coco, self.unsafe):
            if not root.is_dir():
                raise DataError(f"There is no folder {root}{start_of(root)} for ViSU's images.", self._roots())
        try:
            return index_coco(self.coco, split)
        except OSError as error:
            raise DataError(
                f"{self.coco} cannot be searched: {error}.", "Check the permissions of its folders."
            ) from error

    def _item(self, element: Element, split: str, images: dict[int, Path] | None) -> tuple[Item, list[str]]:
        safe: Path | None = None
        unsafe: Path | None = None
        missing = []
        if images is not None:
            safe = images.get(element.coco_id)
            if safe is None:
                missing.append(f"safe image missing: {self.coco}/*/{element.coco_id:012d}.jpg")
            unsafe = self.unsafe / self.options.unsafe_pattern.format(
                split=split, incremental_id=element.incremental_id, coco_id=element.coco_id
            )
            if not unsafe.is_file():
                missing.append(f"unsafe image missing: {unsafe}")
                unsafe = None
        about = (element.concept, element.slice)
        return Item(str(element.incremental_id), safe, unsafe, element.safe, element.unsafe, *about), missing

    def _note(self, file: Path, left_out: list[LeftOut], entry: LeftOut) -> None:
        if self.options.on_bad_item == "error":
            raise DataError(
                f"{file.name}, '{entry.id}': {entry.reason}.", "Correct it, or leave it out with --on-bad-item skip."
            )
        left_out.append(entry)

    def _roots(self) -> str:
        return (
            f"Looked in {self.coco} (--set data.coco=DIR) and {self.unsafe} (--set data.unsafe=DIR); "
            "for captions only, --set data.images=false."
        )


def read_elements(file: Path) -> list[Any]:
    """Read a ViSU file: a list, an object of index to element, or either of them as `data` beside `info`.

    Raises:
        DataError: not JSON, none of the three, or empty.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Check that it is the intact JSON file of ViSU.") from error
    if isinstance(content, dict) and isinstance(content.get("data"), list | dict):
        content = content["data"]
    if isinstance(content, dict):
        content = list(content.values())
    if not isinstance(content, list):
        raise DataError(f"{file} holds a {type(content).__name__}, not a list of elements.", "Give a ViSU file.")
    if not content:
        raise DataError(f"{file} has no elements.", "Give a file with at least one element.")
    return content


def parse_element(raw: Any) -> Element:
    """Check one element; captions of other types become text, and null an empty caption. `slice` may be left out.

    Raises:
        ValueError: a field is missing, an id is no integer, or a text holds half of a surrogate pair.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"a {type(raw).__name__} in place of an object")
    for name in ("incremental_id", "coco_id", "safe", "nsfw"):
        if name not in raw:
            raise ValueError(f"no field '{name}' (fields: {', '.join(raw)})")
    try:
        incremental_id, coco_id = int(raw["incremental_id"]), int(raw["coco_id"])
    except (TypeError, ValueError) as error:
        raise ValueError("incremental_id or coco_id is no integer") from error
    for name in ("safe", "nsfw", "tag", "slice"):
        if half := half_pair(caption(raw.get(name))):
            raise ValueError(f"{name} holds {half}")
    about = concept(raw.get("tag")), caption(raw.get("slice")).strip()
    return Element(incremental_id, coco_id, caption(raw["safe"]), caption(raw["nsfw"]), *about)


def caption(value: object) -> str:
    """Return a caption as text; null and NaN, which a table program writes for an empty cell, are empty."""
    text = "" if value is None or value != value else str(value)
    return text if text.strip() else ""


def concept(tag: object) -> str:
    """Return a tag in lower case and in the spelling of ViSU's own list; unknown tags are concepts too."""
    name = same_spelling(caption(tag)) or "all"
    return ALIASES.get(name, name)


def index_coco(root: Path, split: str) -> dict[int, Path]:
    """Map COCO ids to files below `root`, by one walk; of two files the one in a folder named `split` is taken."""
    index: dict[int, Path] = {}
    for entry in walk_files(root):
        if name := COCO_NAME.fullmatch(entry.name):
            identifier, path = int(name[1]), Path(entry.path)
            other = index.get(identifier)
            # Ids are unique in COCO, but its releases overlap: choose by name, never by the order of the disk.
            if other is None or (path.parent.name != split, path) < (other.parent.name != split, other):
                index[identifier] = path
    return index


def walk_files(root: Path) -> Iterator[os.DirEntry[str]]:
    """Yield every file below `root`, following links to folders, each folder once."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(Path(entry.path))
                else:
                    yield entry
