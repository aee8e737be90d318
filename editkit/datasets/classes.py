"""`classes`: a zero-shot set, that is labelled images, the names of their classes and one template for prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from editkit.datasets.class_file import ClassFile, read_class_file
from editkit.datasets.digests import Remembered, digest_of, fingerprint_of, image_digests
from editkit.datasets.draw import check_limit, draw_order
from editkit.datasets.images import ImageSource
from editkit.datasets.options import ClassesOptions
from editkit.datasets.tables import for_split, read_table
from editkit.datasets.tuples import LeftOut, refuse_if_most_are_missing
from editkit.errors import DataError, did_you_mean

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
COLUMNS = ("image", "label")

Labelled = tuple[str, ImageSource | None, str]
"""Where an error message finds it, the image, and its label as written."""


@dataclass(frozen=True)
class ClassSet:
    """Images and the index of each one's class; `ids` are their paths relative to the YAML file.

    `images`, `labels` and `ids` have one entry per image, in file order; an image may occur more than once.
    """

    name: str
    classes: tuple[str, ...]
    template: str
    images: tuple[ImageSource, ...]
    labels: tuple[int, ...]
    ids: tuple[str, ...]
    summary: str = ""
    split: str = "all"
    left_out: tuple[LeftOut, ...] = ()

    def prompts(self) -> tuple[str, ...]:
        """Return the template filled with each class, underscores read as spaces."""
        return tuple(self.template.replace("{}", name.replace("_", " ")) for name in self.classes)

    def select(self, limit: int | None = None, seed: int = 0) -> ClassSet:
        """Draw at most `limit` images once, over all classes; in file order.

        Raises:
            DataError: the limit is below 1.
        """
        check_limit("limit", limit)
        kept = sorted(draw_order(self.ids, seed)[:limit])
        return replace(
            self,
            images=tuple(self.images[position] for position in kept),
            labels=tuple(self.labels[position] for position in kept),
            ids=tuple(self.ids[position] for position in kept),
        )

    def fingerprint(self, remembered: Remembered | None = None) -> str:
        """Return the sha256 of prompts and of the images with ids and labels, whatever the order of the images.

        Raises:
            DataError: an image file is missing or cannot be read.
        """
        digests = image_digests(self.images, remembered)
        rows = zip(self.ids, self.labels, digests, strict=True)
        return digest_of([self.prompts(), fingerprint_of(digest_of(row) for row in rows)])


class Classes:
    """A zero-shot set from a small YAML file: class names, a template, and a table or a folder of images."""

    def __init__(self, options: ClassesOptions) -> None:
        self.options = options

    def load(self, split: str) -> ClassSet:
        """Read the set and check that every image file exists.

        Args:
            split: replaces "{split}" in the path of the YAML file; without it, ignored.

        Raises:
            DataError: a missing, unreadable or wrong YAML file or table, an unknown label, no images; a missing
                image (`on_bad_item="error"`), or more than half of them.
        """
        text, split = for_split(self.options.path, split)
        path = Path(text).expanduser()
        content = read_class_file(path)
        labels = Labels(path.name, content.classes)
        kept: list[tuple[ImageSource, int, str]] = []
        left_out: list[LeftOut] = []
        rows = list(_rows(path.parent, content))
        for where, image, label in rows:
            index = labels.index(where, label)
            identifier = _identifier(image, where, path.parent)
            if image is None or (isinstance(image, Path) and not image.is_file()):
                reason = "image is empty" if image is None else f"image missing: {image}"
                if self.options.on_bad_item == "error":
                    raise DataError(f"{where}: {reason}.", "Correct it, or leave it out with --on-bad-item skip.")
                left_out.append(LeftOut(identifier, reason))
            else:
                kept.append((image, index, identifier))
        refuse_if_most_are_missing(path.name, left_out, len(rows), "Check the image paths.")
        images, indices, ids = zip(*kept, strict=True)
        return ClassSet(
            content.name,
            content.classes,
            content.template,
            images,
            indices,
            ids,
            summary=content.summary,
            split=split,
            left_out=tuple(left_out),
        )


class Labels:
    """Labels as written to class indices: a name first, then an index."""

    def __init__(self, file: str, classes: tuple[str, ...]) -> None:
        self.file = file
        self.classes = classes
        self.positions: dict[str, list[int]] = {}
        for position, name in enumerate(classes):
            self.positions.setdefault(name, []).append(position)

    def index(self, where: str, label: str) -> int:
        """Return the class index of a label.

        Raises:
            DataError: no class, or more than one, has that name.
        """
        named = self.positions.get(label, [])
        if len(named) == 1:
            return named[0]
        if named:
            raise DataError(
                f"{where}: the label '{label}' is the name of {len(named)} classes of {self.file}.",
                f"Write the index in place of the name: {' or '.join(str(position) for position in named)}.",
            )
        if label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        raise DataError(
            f"{where}: the label '{label}' is no class of {self.file}.{did_you_mean(label, self.classes)}",
            f"Use a name from its list of classes, or an index from 0 to {len(self.classes) - 1}.",
        )


def _rows(folder: Path, content: ClassFile) -> Iterator[Labelled]:
    if content.table is not None:
        return _table_rows(folder / content.table)
    return _folder_rows(folder / (content.folder or ""))


def _table_rows(path: Path) -> Iterator[Labelled]:
    table = read_table(path, COLUMNS)
    for column in COLUMNS:
        if column not in table.columns:
            raise DataError(
                f"{table.name} has no column {column} (columns found: {', '.join(table.columns)})."
                f"{did_you_mean(column, table.columns)}",
                "Rename or add the column.",
            )
    for number in range(1, len(table.rows) + 1):
        where = f"{table.name}, row {number}"
        label = table.text(number, "label")
        if label is None:
            raise DataError(f"{where}: label is empty.", "Write the name of a class, or its index.")
        yield where, table.image(number, "image"), label.strip()


def _folder_rows(folder: Path) -> Iterator[Labelled]:
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}.", "Check `folder`; it is relative to the YAML file.")
    found = False
    for part in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for image in sorted(entry for entry in part.rglob("*") if entry.suffix.lower() in SUFFIXES):
            found = True
            yield f"{folder.name}/{part.name}", image, part.name
    if not found:
        raise DataError(f"{folder} has no images.", "Put one sub-folder for each class in it, named like the class.")


def _identifier(image: ImageSource | None, where: str, folder: Path) -> str:
    if not isinstance(image, Path):
        return where
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.as_posix()
