"""What is judged: the texts of a table, or the images of a folder or a table, each with an id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from editkit.data.digests import image_digests
from editkit.data.readers.image_files import PassedOver, images_below
from editkit.data.readers.images import ImageSource
from editkit.data.readers.tables import Table, read_table
from editkit.data.tuples import LeftOut
from editkit.errors import DataError, did_you_mean
from editkit.evals.judges.panel import ContentKind
from editkit.files.digests import digest_of, fingerprint_of

COLUMNS: dict[ContentKind, tuple[str, ...]] = {"text": ("text", "caption"), "image": ("image",)}
"""Where items are looked for in a table, unless a column is named."""


@dataclass(frozen=True)
class Items:
    """n texts or images.

    `ids` are the table's own (`id`), or paths below the folder; a table without them has row numbers, and is not
    `named`: then nothing says that rows of two tables belong together. `left_out`: rows without an item.
    """

    name: str
    content: ContentKind
    ids: tuple[str, ...]
    items: tuple[Any, ...]
    named: bool
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    """What lies in the folder too, with its count."""

    def fingerprint(self) -> str:
        """Return one sha256 over the items, in whatever order they come.

        Raises:
            DataError: an image file is missing.
        """
        if self.content == "text":
            return fingerprint_of(digest_of(text) for text in self.items)
        return fingerprint_of(digest or "" for digest in image_digests(self.items))

    def describe(self, place: int) -> dict[str, str]:
        """Return what a file of verdicts says of one item."""
        about = {"source": self.name, "id": self.ids[place]}
        return about | ({"text": self.items[place]} if self.content == "text" else {})


def read_items(path: Path, content: ContentKind, column: str | None = None) -> Items:
    """Read a table, or, of images, a folder with all that is below it.

    Args:
        column: where the items are; None: `text` or `caption`, or `image`.

    Raises:
        DataError: no such file or folder, a table without the column, or nothing to judge in it.
    """
    if path.is_dir():
        return _folder(path, content, column)
    table = read_table(path, ("id", *((column,) if column else COLUMNS[content])))
    where = _column(table, content, column)
    found = list(_rows(table, content, where))
    ids = [table.text(row.number, "id") for row in found]
    named = None not in ids and len(set(ids)) == len(ids)
    kept = [
        (name if named and name is not None else f"row {row.number}", row) for name, row in zip(ids, found, strict=True)
    ]
    return _made(
        path.name,
        content,
        [(name, row.item) for name, row in kept if row.item is not None],
        named=named,
        left_out=tuple(LeftOut(name, row.lack) for name, row in kept if row.item is None),
    )


def _folder(path: Path, content: ContentKind, column: str | None) -> Items:
    if content == "text" or column is not None:
        raise DataError(
            f"{path} is a folder, and {'texts are' if content == 'text' else '--column is'} looked for in a table.",
            "Give a .jsonl, .csv or .parquet file.",
        )
    over = PassedOver()
    files = images_below(path, over)
    found = [(file.relative_to(path).as_posix(), file) for file in files]
    return replace(_made(path.name, content, found, named=True), warnings=over.tell(path.name))


def _made(
    name: str,
    content: ContentKind,
    found: Sequence[tuple[str, Any]],
    *,
    named: bool,
    left_out: tuple[LeftOut, ...] = (),
) -> Items:
    if not found:
        raise DataError(f"There are no {content}s in {name}.", "Give a table or a folder that holds what to judge.")
    ids, items = zip(*found, strict=True)
    return Items(name, content, ids, items, named, left_out)


def _column(table: Table, content: ContentKind, asked: str | None) -> str:
    wanted = (asked,) if asked else COLUMNS[content]
    for name in wanted:
        if name in table.columns:
            return name
    raise DataError(
        f"{table.name} has no column {' or '.join(wanted)} (columns found: {', '.join(table.columns)})."
        f"{did_you_mean(wanted[0], table.columns)}",
        "Name the column that holds what to judge: --column NAME",
    )


@dataclass(frozen=True)
class _Row:
    """A row's number and what is to be judged of it; None: nothing, and why."""

    number: int
    item: str | ImageSource | None
    lack: str


def _rows(table: Table, content: ContentKind, column: str) -> Iterator[_Row]:
    for number, row in enumerate(table.rows, start=1):
        if str(row.get("schema", "")).startswith("editkit.captions/"):  # how captions were made: no caption
            continue
        if content == "image":
            yield _Row(number, table.image(number, column), f"{column} is empty")
        elif fault := table.fault(number, (column,)):
            yield _Row(number, None, fault)
        else:
            yield _Row(number, table.text(number, column), f"{column} is empty")
