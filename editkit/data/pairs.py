"""`pairs`: tuples from a table of your own, with all four sides, only captions or only images."""

from __future__ import annotations

from pathlib import Path

from editkit.data.options import PairsOptions
from editkit.data.readers.hub_table import read_split
from editkit.data.readers.images import ImageSource
from editkit.data.readers.tables import Table
from editkit.data.tuples import Item, LeftOut, TupleSet, refuse_if_most_are_missing
from editkit.errors import DataError, did_you_mean

SIDES = ("safe", "unsafe")
KINDS = ("image", "text")
COLUMNS = ("id", "safe_image", "unsafe_image", "safe_text", "unsafe_text", "concept", "slice")


class Pairs:
    """Tuples from JSON lines, CSV, Parquet or a Hugging Face data set with the columns `COLUMNS`.

    `id` defaults to the row number, counted from 1, `concept` to "all" and `slice` to none; paths are relative to the
    table.
    """

    def __init__(self, options: PairsOptions) -> None:
        self.options = options

    def load(self, split: str) -> TupleSet:
        """Read the table and check that every image file exists.

        Args:
            split: replaces "{split}" in the path, and names the split of a Hugging Face data set.

        Raises:
            DataError: an unreadable or empty table, a column without its partner, a duplicate id, an empty cell or a
                missing image (`on_bad_item="error"`), or more than half of the rows unusable.
        """
        table, split = read_split(self.options.path, split, COLUMNS)
        kinds = paired_kinds(table)
        items: list[Item] = []
        left_out: list[LeftOut] = []
        for number, identifier in enumerate(unique_ids(table), 1):
            item, faults = read_item(table, number, identifier, kinds)
            if faults and self.options.on_bad_item == "error":
                raise DataError(f"{table.name}, row {number}: {faults[0]}.", table.remedy(faults[0]))
            if faults:
                left_out.append(LeftOut(identifier, "; ".join(faults)))
            if item.has_images or item.has_texts:
                items.append(item)
        refuse_if_most_are_missing(table.name, left_out, len(table.rows), "Check the table and its image paths.")
        return TupleSet(f"pairs:{table.name}", split, tuple(items), tuple(left_out))


def paired_kinds(table: Table) -> tuple[str, ...]:
    """Return which of "image" and "text" the table has, each with a safe and an unsafe column.

    Raises:
        DataError: a column whose partner is missing, or none of the four.
    """
    found = f"columns found: {', '.join(table.columns)}"
    kinds = []
    for kind in KINDS:
        present = [side for side in SIDES if f"{side}_{kind}" in table.columns]
        if len(present) == 1:
            absent = next(f"{side}_{kind}" for side in SIDES if side not in present)
            others = [column for column in table.columns if column not in COLUMNS]
            raise DataError(
                f"{table.name} has the column {present[0]}_{kind} but not {absent} ({found})."
                f"{did_you_mean(absent, others)}",
                "Each safe item needs its unsafe partner, and each unsafe item its safe one: add the column.",
            )
        if present:
            kinds.append(kind)
    if not kinds:
        guess = did_you_mean("safe_text", table.columns) or did_you_mean("safe_image", table.columns)
        raise DataError(
            f"{table.name} has neither safe_text and unsafe_text nor safe_image and unsafe_image ({found}).{guess}",
            "Rename or add the columns of at least one of the two pairs.",
        )
    return tuple(kinds)


def unique_ids(table: Table) -> list[str]:
    """Return an id for each row.

    Raises:
        DataError: two rows have the same id.
    """
    rows: dict[str, int] = {}
    for number in range(1, len(table.rows) + 1):
        unusable = table.fault(number, ("id",))
        identifier = f"row {number}" if unusable else table.text(number, "id") or str(number)
        if identifier in rows:
            raise DataError(
                f"{table.name}: rows {rows[identifier]} and {number} have the same id '{identifier}'.",
                "Give each row an id of its own, or leave the column out to number the rows.",
            )
        rows[identifier] = number
    return list(rows)


def read_item(table: Table, number: int, identifier: str, kinds: tuple[str, ...]) -> tuple[Item, list[str]]:
    """Return a row as an item, and what is wrong with it; a missing image or caption is None in the item."""
    if fault := table.fault(number, ("id", "safe_text", "unsafe_text", "concept", "slice")):
        return Item(identifier, None, None, None, None, "all"), [fault]
    faults: list[str] = []
    texts: dict[str, str | None] = dict.fromkeys(SIDES)
    images: dict[str, ImageSource | None] = dict.fromkeys(SIDES)
    for side in SIDES:
        if "text" in kinds:
            texts[side] = table.text(number, f"{side}_text")
            if texts[side] is None:
                faults.append(f"{side}_text is empty")
        if "image" in kinds:
            image = table.image(number, f"{side}_image")
            if image is None:
                faults.append(f"{side}_image is empty")
            elif isinstance(image, Path) and not image.is_file():
                faults.append(f"{side} image missing: {image}")
            else:
                images[side] = image
    concept = (table.text(number, "concept") or "all").strip()
    part = (table.text(number, "slice") or "").strip()
    sides = (images["safe"], images["unsafe"], texts["safe"], texts["unsafe"])
    return Item(identifier, *sides, concept, part), faults
