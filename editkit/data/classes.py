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
from editkit.data.readers.folders import images_by_class, read_folders
from editkit.data.readers.images import ImageSource
from editkit.data.readers.labels import Labels, table_rows
from editkit.data.readers.parquet import read_parquet
from editkit.data.readers.shards import read_shards
from editkit.data.readers.tables import for_split
from editkit.data.tuples import LeftOut, refuse_if_most_are_missing
from editkit.errors import DataError
from editkit.files.digests import digest_of, fingerprint_of

LabelledRow = tuple[str, ImageSource | None, int, str]
"""How error messages locate it, the image, its class index and its id."""


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
        path = Path(text).expanduser()
        described = read_class_file(path)
        names, templates, rows = _read(path, described)
        images, labels, ids, left_out = kept_rows(rows, path.name, self.options.on_bad_item)
        return ClassSet(
            described.name,
            names,
            templates[0],
            images,
            labels,
            ids,
            summary=described.summary,
            split=split,
            left_out=left_out,
            ensemble=templates[1:],
        )


def require_images(content: Content, name: str, on_bad_item: OnBadItem) -> ClassSet:
    """Make a set of what a reader found; templates are the content's.

    Raises:
        DataError: a missing image (`on_bad_item="error"`), or more than half of them.
    """
    images, labels, ids, left_out = kept_rows(_content_rows(content), name, on_bad_item)
    template, *more = content.templates or ("{}",)
    return ClassSet(name, content.names, template, images, labels, ids, left_out=left_out, ensemble=tuple(more))


def kept_rows(
    rows: Iterable[LabelledRow], name: str, on_bad_item: OnBadItem
) -> tuple[tuple[ImageSource, ...], tuple[int, ...], tuple[str, ...], tuple[LeftOut, ...]]:
    """Return images, class indices, ids, and the rows whose image is missing.

    Raises:
        DataError: a missing image (`on_bad_item="error"`), or more than half of them.
    """
    kept: list[tuple[ImageSource, int, str]] = []
    left_out: list[LeftOut] = []
    for where, image, index, identifier in rows:
        if image is None or (isinstance(image, Path) and not image.is_file()):
            reason = "image is empty" if image is None else f"image missing: {image}"
            if on_bad_item == "error":
                raise DataError(f"{where}: {reason}.", "Correct it, or leave it out with --on-bad-item skip.")
            left_out.append(LeftOut(identifier, reason))
        else:
            kept.append((image, index, identifier))
    refuse_if_most_are_missing(name, left_out, len(kept) + len(left_out), "Check the image paths.")
    images, labels, ids = zip(*kept, strict=True)
    return images, labels, ids, tuple(left_out)


def _read(path: Path, described: ClassFile) -> tuple[tuple[str, ...], tuple[str, ...], Iterator[LabelledRow]]:
    """Return the names of the classes, the templates, and the rows."""
    folder, names = path.parent, described.classes
    if described.table is not None and names is not None:
        return names, described.prompts, _named_rows(path, names, table_rows(folder / described.table))
    if described.folder is not None and names is not None:
        place = folder / described.folder
        found = ((f"{place.name}/{part}", image, part) for part, image in images_by_class(place))
        return names, described.prompts, _named_rows(path, names, found)
    if described.folder is not None:
        content = read_folders(folder / described.folder)
    elif described.shards is not None:
        content = read_shards(folder / described.shards)
    else:
        files = sorted(folder.glob(str(described.parquet)))
        if not files:
            raise DataError(
                f"No file matches {folder / str(described.parquet)}.", "Correct `parquet` in the YAML file."
            )
        content = read_parquet(files, described.image, described.label, names)
    if names is not None and len(names) != len(content.names):
        raise DataError(
            f"{path}: {len(names)} classes are listed, but the images have {len(content.names)}.",
            "Leave `classes` out, and the images' own names are taken.",
        )
    return names or content.names, described.prompts or content.templates, _content_rows(content)


def _named_rows(
    path: Path, names: tuple[str, ...], rows: Iterable[tuple[str, ImageSource | None, str]]
) -> Iterator[LabelledRow]:
    labels = Labels(path.name, names)
    for where, image, label in rows:
        yield where, image, labels.index(where, label), _identifier(image, where, path.parent)


def _content_rows(content: Content) -> Iterator[LabelledRow]:
    for image, label, identifier in zip(content.images, content.labels, content.ids, strict=True):
        yield identifier, image, label, identifier


def _identifier(image: ImageSource | None, where: str, folder: Path) -> str:
    if not isinstance(image, Path):
        return where
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.as_posix()
