"""Hugging Face data sets, read as tables; needs the optional library `datasets`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from editkit.data.readers.tables import Table
from editkit.errors import DataError, InstallError, one_line

PREFIX = "hf:"


def read_hub(name: str, split: str) -> Table:
    """Load one split of a Hugging Face data set; images stay the encoded bytes that they are stored as.

    Raises:
        InstallError: the library `datasets` is not installed.
        DataError: the data set or the split cannot be loaded, or has no rows.
    """
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise InstallError(
            f"{PREFIX}{name} needs the library 'datasets', which is not installed.", "Run `pip install datasets`."
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
