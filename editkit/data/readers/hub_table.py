"""Hugging Face data sets, read as tables: Parquet files as they are, other forms by the optional library `datasets`."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from editkit.data.readers.tables import Table, for_split, read_table
from editkit.errors import DataError, InstallError, one_line
from editkit.files.hub_data import split_files

PREFIX = "hf:"


def read_split(path: str | Path, split: str, wanted: Collection[str]) -> tuple[Table, str]:
    """Read the table of one split, from a file or from the hub (`hf:OWNER/NAME`); return also what the split is called.

    Args:
        path: with or without "{split}" in it.
        wanted: columns to read; all are listed in `columns`.

    Raises:
        DataError: there is no such table, or it cannot be read.
    """
    place, file_split = for_split(path, split)
    if place.startswith(PREFIX):
        return read_hub(place.removeprefix(PREFIX), split, wanted), split
    return read_table(Path(place), wanted), file_split


def read_hub(name: str, split: str, wanted: Collection[str]) -> Table:
    """Read one split of a Hugging Face data set; images stay the encoded bytes that they are stored as.

    Args:
        wanted: columns to read; all are listed in `columns`.

    Raises:
        InstallError: it is not stored in Parquet files, and the library `datasets` is not installed.
        DataError: the data set or the split cannot be loaded, or has no rows.
    """
    if files := split_files(name, split, where="a table: --data pairs:FILE"):
        parts = [read_table(file, wanted) for file in files]
        return Table(f"{PREFIX}{name}", Path(), parts[0].columns, tuple(row for part in parts for row in part.rows))
    return _by_library(name, split)


def _by_library(name: str, split: str) -> Table:
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise InstallError(
            f"{PREFIX}{name} has no Parquet files of a split '{split}'; other forms need the library 'datasets'.",
            "Run `pip install datasets`.",
        ) from error
    try:
        data = datasets.load_dataset(name, split=split)
    except Exception as error:  # network, access, unknown split, builder: each has its own type
        reason = one_line(error).rstrip(".")
        raise DataError(
            f"{PREFIX}{name}, split '{split}', cannot be loaded: {reason}.",
            "Check name and split, and for a gated data set run `hf auth login`.",
        ) from error
    for column, feature in data.features.items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(column, datasets.Image(decode=False))
    rows = tuple(data)
    if not rows:
        raise DataError(f"{PREFIX}{name}, split '{split}', has no rows.", "Name another split with --split.")
    return Table(f"{PREFIX}{name}", Path(), tuple(data.column_names), rows)
