"""`classes`: a zero-shot set, that is labelled images, the names of their classes and the templates of prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from editkit.components.specs import OnBadItem
from editkit.data.class_file import ClassFile, read_class_file
from editkit.data.digests import Remembered, image_digests
from editkit.data.draw import drawn_places
from editkit.data.options import ClassesOptions
from editkit.data.readers.content import Content
from editkit.data.readers.folders import class_folders, read_folders
from editkit.data.readers.images import ImageSource
from editkit.data.readers.labels import Labels, table_rows
from editkit.data.readers.parquet import parquet_files, read_parquet
from editkit.data.readers.shards import read_shards
from editkit.data.readers.tables import for_split
from editkit.data.tuples import LeftOut, refuse_if_most_are_missing
from editkit.errors import DataError
from editkit.files.digests import digest_of, fingerprint_of
from editkit.files.paths import start_of, user_path


@dataclass(frozen=True)
class LabelledRow:
    """An image, its class index and its id; `where` is how error messages locate it, `fault` why it cannot be used."""

    where: str
    image: ImageSource | None
    label: int
    id: str
    fault: str = ""


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
    ensemble: tuple[str, ...] = ()
    """More templates: a class is then the mean of all its prompts' embeddings."""
    underscores: Literal["spaces", "kept"] = "spaces"
    """How prompts read an underscore in the name of a class."""
    warnings: tuple[str, ...] = ()
    """What lies beside the images and was not taken, with its count: reports say it."""

    @property
    def templates(self) -> tuple[str, ...]:
        """All k templates."""
        return (self.template, *self.ensemble)

    def prompts(self) -> tuple[str, ...]:
        """Return the k templates filled with the first class, then with the second, and so on."""
        plain = (name.replace("_", " ") if self.underscores == "spaces" else name for name in self.classes)
        names = [" ".join(name.split()) for name in plain]  # published lists have names that end in a blank
        return tuple(template.replace("{}", name) for name in names for template in self.templates)

    def select(self, limit: int | None = None, seed: int = 0) -> ClassSet:
        """Draw at most `limit` images once, over all classes; in file order.

        Raises:
            DataError: the limit is below 1.
        """
        kept = drawn_places(self.ids, limit, seed)
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
        return self.fingerprint_with(image_digests(self.images, remembered))

    def fingerprint_with(self, digests: Sequence[str | None]) -> str:
        """Return the same for images whose digests are known."""
        rows = zip(self.ids, self.labels, digests, strict=True)
        return digest_of([self.prompts(), fingerprint_of(digest_of(row) for row in rows)])


class Classes:
    """A zero-shot set from a small YAML file: where the images are, templates, and the names of the classes."""

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
        path = Path(text)
        described = read_class_file(path)
        found = _read(path, described, self.options.on_bad_item)
        images, labels, ids, left_out = kept_rows(found.rows, path.name, self.options.on_bad_item)
        return ClassSet(
            described.name,
            found.names,
            found.templates[0],
            images,
            labels,
            ids,
            summary=described.summary,
            split=split,
            left_out=left_out,
            ensemble=found.templates[1:],
            warnings=found.warnings,
        )


def require_images(content: Content, name: str, on_bad_item: OnBadItem) -> ClassSet:
    """Make a set of what a reader found; templates are the content's.

    Raises:
        DataError: a missing image (`on_bad_item="error"`), or more than half of them.
    """
    images, labels, ids, left_out = kept_rows(_content_rows(content), name, on_bad_item)
    template, *more = content.templates or ("{}",)
    return ClassSet(
        name,
        content.names,
        template,
        images,
        labels,
        ids,
        left_out=left_out,
        ensemble=tuple(more),
        warnings=content.warnings,
    )


def kept_rows(
    rows: Iterable[LabelledRow], name: str, on_bad_item: OnBadItem
) -> tuple[tuple[ImageSource, ...], tuple[int, ...], tuple[str, ...], tuple[LeftOut, ...]]:
    """Return images, class indices, ids, and the rows that cannot be used, such as one whose image is missing.

    Raises:
        DataError: such a row (`on_bad_item="error"`), or more than half of them.
    """
    kept: list[tuple[ImageSource, int, str]] = []
    left_out: list[LeftOut] = []
    for row in rows:
        reason = row.fault or _lack(row.image)
        if reason and on_bad_item == "error":
            start = start_of(row.image) if isinstance(row.image, Path) else ""
            raise DataError(f"{row.where}: {reason}{start}.", "Correct it, or leave it out with --on-bad-item skip.")
        if reason or row.image is None:
            left_out.append(LeftOut(row.id, reason))
        else:
            kept.append((row.image, row.label, row.id))
    refuse_if_most_are_missing(name, left_out, len(kept) + len(left_out), "Check the image paths.")
    images, labels, ids = zip(*kept, strict=True)
    return images, labels, ids, tuple(left_out)


def _lack(image: ImageSource | None) -> str:
    if image is None:
        return "image is empty"
    return f"image missing: {image}" if isinstance(image, Path) and not image.is_file() else ""


@dataclass(frozen=True)
class _Found:
    """What a YAML file leads to."""

    names: tuple[str, ...]
    templates: tuple[str, ...]
    rows: Iterator[LabelledRow]
    warnings: tuple[str, ...] = ()


def _read(path: Path, described: ClassFile, on_bad_item: OnBadItem) -> _Found:
    folder, names = path.parent, described.classes
    if described.table is not None and names is not None:
        rows = table_rows(_beside(path, described.table, "table"))
        return _Found(names, described.prompts, _named_rows(path, names, rows))
    if described.folder is not None and names is not None:
        place = folder / user_path(described.folder)
        found = class_folders(place)
        rows = ((f"{place.name}/{part}", image, part, "") for part, image in found.rows())
        return _Found(names, described.prompts, _named_rows(path, names, rows), found.warnings)
    if described.folder is not None:
        content = read_folders(folder / user_path(described.folder), on_bad_item=on_bad_item)
    elif described.shards is not None:
        content = read_shards(_beside(path, described.shards, "shards"))
    else:
        files = parquet_files(str(described.parquet), folder)
        content = read_parquet(files, described.image, described.label, names)
    if names is not None and len(names) != len(content.names):
        raise DataError(
            f"{path}: {len(names)} classes are listed, but the images have {len(content.names)}.",
            "Leave `classes` out, and the images' own names are taken.",
        )
    templates = described.prompts or content.templates
    return _Found(names or content.names, templates, _content_rows(content), content.warnings)


def _beside(path: Path, place: Path, key: str) -> Path:
    """Return a place that a YAML file names.

    Raises:
        DataError: there is no such place; says where a relative path starts.
    """
    found = path.parent / user_path(place)
    if not found.exists():
        raise DataError(
            f"There is no {'table' if key == 'table' else 'folder'} {found}.",
            f"Check `{key}` in {path.name}; a relative one starts at that file, in {path.parent.absolute()}.",
        )
    return found


def _named_rows(
    path: Path, names: tuple[str, ...], rows: Iterable[tuple[str, ImageSource | None, str, str]]
) -> Iterator[LabelledRow]:
    labels = Labels(path.name, names)
    for where, image, label, fault in rows:
        if fault:
            yield LabelledRow(where, None, 0, where, fault)
        else:
            yield LabelledRow(where, image, labels.index(where, label), _identifier(image, where, path.parent))


def _content_rows(content: Content) -> Iterator[LabelledRow]:
    for image, label, identifier in zip(content.images, content.labels, content.ids, strict=True):
        yield LabelledRow(identifier, image, label, identifier)


def _identifier(image: ImageSource | None, where: str, folder: Path) -> str:
    if not isinstance(image, Path):
        return where
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.as_posix()
