"""`queries`: unpaired texts and images, each called safe, neutral or unsafe: what people ask of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from editkit.data.digests import Remembered, image_digests
from editkit.data.draw import drawn_places
from editkit.data.options import QueriesOptions
from editkit.data.pairs import unique_ids
from editkit.data.readers.hub_table import read_split
from editkit.data.readers.images import ImageSource
from editkit.data.readers.tables import Table
from editkit.data.tuples import LeftOut, refuse_if_most_are_missing
from editkit.errors import DataError, did_you_mean
from editkit.files.digests import digest_of, fingerprint_of

Kind = Literal["safe", "neutral", "unsafe"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Row = tuple[str, str | None, ImageSource | None, Kind | Literal[""], str]
"""Id, text, image, kind and slice."""
COLUMNS = ("id", "text", "image", "kind", "slice")


@dataclass(frozen=True)
class QuerySet:
    """Texts and images in the order of their file; a row has at least one of the two.

    A row with both counts as one text and one image. `kinds` and `slices` are empty where the file says nothing.
    """

    name: str
    ids: tuple[str, ...]
    texts: tuple[str | None, ...]
    images: tuple[ImageSource | None, ...]
    kinds: tuple[Kind | Literal[""], ...]
    slices: tuple[str, ...]
    split: str = "all"
    left_out: tuple[LeftOut, ...] = ()

    def select(self, limit: int | None = None, seed: int = 0) -> QuerySet:
        """Draw at most `limit` rows once; in file order.

        Raises:
            DataError: the limit is below 1.
        """
        kept = drawn_places(self.ids, limit, seed)
        return replace(
            self,
            ids=tuple(self.ids[place] for place in kept),
            texts=tuple(self.texts[place] for place in kept),
            images=tuple(self.images[place] for place in kept),
            kinds=tuple(self.kinds[place] for place in kept),
            slices=tuple(self.slices[place] for place in kept),
        )

    def require_kinds(self) -> None:
        """Refuse rows that do not say what kind they are.

        Raises:
            DataError: names the first of them.
        """
        without = [name for name, kind in zip(self.ids, self.kinds, strict=True) if not kind]
        if without:
            raise DataError(
                f"{self.name}: {len(without)} rows do not say their kind, first '{without[0]}'.",
                f"Fill the column kind: {', '.join(KINDS)}.",
            )

    def fingerprint(self, remembered: Remembered | None = None) -> str:
        """Return the sha256 of the rows with their ids, kinds and slices, whatever their order.

        Raises:
            DataError: an image file is missing or cannot be read.
        """
        hashes = image_digests(self.images, remembered)
        rows = zip(self.ids, self.texts, hashes, self.kinds, self.slices, strict=True)
        return fingerprint_of(digest_of(row) for row in rows)


class Queries:
    """Queries from JSON lines, CSV, Parquet or a Hugging Face data set with the columns `COLUMNS`.

    `text` or `image` has to be there; `id` defaults to the row number, counted from 1; paths are relative to the table.
    """

    def __init__(self, options: QueriesOptions) -> None:
        self.options = options

    def load(self, split: str) -> QuerySet:
        """Read the table and check that every image file exists.

        Args:
            split: replaces "{split}" in the path, and names the split of a Hugging Face data set.

        Raises:
            DataError: an unreadable or empty table, neither column, a duplicate id, a kind that there is not; a row
                with neither text nor image, or a missing image (`on_bad_item="error"`), or more than half of them.
        """
        table, split = read_split(self.options.path, split, COLUMNS)
        if not {"text", "image"} & set(table.columns):
            raise DataError(
                f"{table.name} has neither text nor image (columns found: {', '.join(table.columns)})."
                f"{did_you_mean('text', table.columns)}",
                "Rename or add at least one of the two columns.",
            )
        rows: list[Row] = []
        left_out: list[LeftOut] = []
        for number, identifier in enumerate(unique_ids(table), 1):
            fault = table.fault(number, ("id", "text", "kind", "slice")) or _lack(table, number)
            if fault and self.options.on_bad_item == "error":
                raise DataError(f"{table.name}, row {number}: {fault}.", table.remedy(fault))
            if fault:
                left_out.append(LeftOut(identifier, fault))
            else:
                text, image, kind = table.text(number, "text"), table.image(number, "image"), read_kind(table, number)
                rows.append((identifier, text, image, kind, (table.text(number, "slice") or "").strip()))
        refuse_if_most_are_missing(table.name, left_out, len(table.rows), "Check the table and its image paths.")
        ids, texts, images, kinds, slices = zip(*rows, strict=True)
        return QuerySet(f"queries:{table.name}", ids, texts, images, kinds, slices, split, tuple(left_out))


def _lack(table: Table, number: int) -> str:
    image = table.image(number, "image")
    if isinstance(image, Path) and not image.is_file():
        return f"image missing: {image}"
    return "text and image are empty" if image is None and table.text(number, "text") is None else ""


def read_kind(table: Table, number: int) -> Kind | Literal[""]:
    """Return the kind of a row; empty where the table says none.

    Raises:
        DataError: names the row and what it says.
    """
    said = (table.text(number, "kind") or "").strip().lower()
    if said and said not in KINDS:
        raise DataError(
            f"{table.name}, row {number}: kind is '{said}'.{did_you_mean(said, KINDS)}",
            f"A query is one of {', '.join(KINDS)}.",
        )
    return said


def neutral_queries(name: str, texts: Sequence[str]) -> QuerySet:
    """Return texts that are about nothing in particular, each once, as queries."""
    once = tuple(dict.fromkeys(texts))
    kind: Kind = "neutral"
    return QuerySet(name, once, once, (None,) * len(once), (kind,) * len(once), ("",) * len(once))
