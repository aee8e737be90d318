"""Labels as people write them: the name of a class, or its index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from editkit.data.readers.images import ImageSource
from editkit.data.readers.tables import read_table
from editkit.errors import DataError, did_you_mean

COLUMNS = ("image", "label")


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
            f"{hint_of_float(label)}Use a name from its classes, or an index from 0 to {len(self.classes) - 1}.",
        )


def hint_of_float(label: object) -> str:
    """Say how a label such as 3.0 came about, since table programs make one of 3; empty of any other label."""
    if not re.fullmatch(r"\d+\.0+", str(label)):
        return ""
    return (
        f"Write {str(label).partition('.')[0]}, not {label}: an empty cell makes pandas store whole numbers as floats. "
    )


def table_rows(path: Path) -> Iterator[tuple[str, ImageSource | None, str, str]]:
    """Yield how error messages locate a row, its image, its label as written, and what is wrong with its text.

    Raises:
        DataError: an unreadable table, a missing column, an empty label.
    """
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
        if fault := table.fault(number, ("label",)):
            yield where, None, "", fault
            continue
        label = table.text(number, "label")
        if label is None:
            raise DataError(f"{where}: label is empty.", "Write the name of a class, or its index.")
        yield where, table.image(number, "image"), label.strip(), ""
