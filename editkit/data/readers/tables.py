"""Tables in files: JSON lines, CSV and Parquet behind one reader."""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editkit.data.readers.images import ImageBytes, ImageSource
from editkit.errors import DataError
from editkit.files.paths import start_of, user_path
from editkit.files.whole_text import half_pair

BOM = "\ufeff"
"""A byte order mark: files that programs put together have one at the beginning of each part."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What some programs write between the cells of a CSV file."""

TableRow = Mapping[str, Any]
TableContent = tuple[list[str], list[TableRow]]
"""Column names, and rows that may lack some of them."""


@dataclass(frozen=True)
class Table:
    """Rows with named cells; `folder` is where relative paths in its cells start, and rows count from 1."""

    name: str
    folder: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def cell(self, number: int, column: str) -> Any:
        """Return a cell of row `number`, or None where it is empty."""
        value = self.rows[number - 1].get(column)
        blank = (isinstance(value, str) and not value.strip()) or value != value  # NaN, Parquet's empty number
        return None if blank else value

    def text(self, number: int, column: str) -> str | None:
        """Return a cell as text, or None where it is empty.

        Raises:
            DataError: the cell holds neither text nor a number, or half of a surrogate pair.
        """
        value = self.cell(number, column)
        if isinstance(value, str) and (half := half_pair(value)):
            raise DataError(f"{self.name}, row {number}: {column} holds {half}.", "Correct the row.")
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, int | float):
            return str(value)
        raise self._misfit(number, column, value, "a text")

    def fault(self, number: int, columns: Collection[str]) -> str:
        """Say which of these cells of row `number` holds what is no text; empty: none, and `text` reads each.

        Such a cell was cut inside a character, as JSON allows.
        """
        for column in columns:
            value = self.cell(number, column)
            if isinstance(value, str) and (half := half_pair(value)):
                return f"{column} holds {half}"
        return ""

    def image(self, number: int, column: str) -> ImageSource | None:
        """Return a cell as an image: a path, bytes, or Hugging Face's {"bytes", "path"}; None where it is empty.

        Raises:
            DataError: the cell holds something else.
        """
        value = self.cell(number, column)
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if value is None:
            return None
        if isinstance(value, bytes):
            return ImageBytes(value, f"{self.name}, row {number}, {column}")
        if isinstance(value, str):
            return self.folder / user_path(value)
        raise self._misfit(number, column, value, "an image path")

    def remedy(self, fault: str) -> str:
        """Return what to do about a row with this fault."""
        start = f"; its paths start in {self.folder.absolute()}" if "image missing" in fault else ""
        return f"Correct the row{start}, or leave unusable ones out with --on-bad-item skip."

    def _misfit(self, number: int, column: str, value: object, wanted: str) -> DataError:
        return DataError(
            f"{self.name}, row {number}: {column} is a {type(value).__name__}, not {wanted}.", f"Make it {wanted}."
        )


def for_split(path: str | Path, split: str) -> tuple[str, str]:
    """Put `split` in place of "{split}"; a path without it holds one split only, which is called "all"."""
    text = str(path)
    return (text.replace("{split}", split), split) if "{split}" in text else (text, "all")


def read_table(path: Path, wanted: Collection[str]) -> Table:
    """Read a .jsonl, .csv or .parquet file.

    Args:
        wanted: columns to read where the format allows to leave others unread; all are listed in `columns`.

    Raises:
        DataError: no such file, an unknown extension, unreadable content, or no rows.
    """
    readers: dict[str, Callable[[Path, Collection[str]], TableContent]] = {
        ".jsonl": _read_json_lines,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"The table {path} has the unknown extension '{path.suffix}'.",
            f"Use a file in one of the formats {', '.join(readers)}.",
        )
    if not path.is_file():
        raise DataError(f"There is no table {path}{start_of(path)}.", "Check the path.")
    try:
        columns, rows = reader(path, wanted)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: UTF-8, JSON, Parquet
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"The table {path} cannot be read: {reason}.", _remedy(path)) from error
    if not rows:
        raise DataError(f"The table {path} has no rows.", "Give a table with at least one row.")
    return Table(path.name, path.parent, tuple(columns), tuple(rows))


def _remedy(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE):
            return "It begins as UTF-16 does: save it as UTF-8."
    return f"Check that it is intact {path.suffix[1:]} in UTF-8."


def _read_json_lines(path: Path, wanted: Collection[str]) -> TableContent:
    rows: list[TableRow] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().lstrip(BOM)
            if not text:
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object in braces")
            rows.append(row)
    return list(dict.fromkeys(column for row in rows for column in row)), rows


def _read_csv(path: Path, wanted: Collection[str]) -> TableContent:
    # The standard library's reader, since every cell stays the text it is: "007" and "NA" are captions or ids here.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        columns = [name.strip().strip(BOM) for name in reader.fieldnames or ()]
        if len(columns) == 1 and (other := next((mark for mark in SEPARATORS if mark in columns[0]), None)):
            raise ValueError(
                f"its header is one column, '{columns[0]}', with {SEPARATORS[other]} where commas should be"
            )
        if len(set(columns)) < len(columns):
            raise ValueError("a column name occurs twice")
        reader.fieldnames = columns
        rows: list[TableRow] = []
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more cells than the header")
            rows.append(row)
    return columns, rows


def _read_parquet(path: Path, wanted: Collection[str]) -> TableContent:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            return columns, file.read([column for column in columns if column in wanted]).to_pylist()
    except ArrowException as error:
        raise ValueError(str(error)) from error
