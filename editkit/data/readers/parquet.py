"""Parquet files as Hugging Face publishes image classification sets: encoded images, and labels with their names.

The names of the classes are in the files' own schema, where `datasets` keeps what it calls features. The images are
held in memory, as encoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit.data.readers.content import Content
from editkit.data.readers.images import ImageBytes
from editkit.errors import DataError, did_you_mean


def read_parquet(
    files: Sequence[Path], image: str | None = None, label: str | None = None, names: Sequence[str] | None = None
) -> Content:
    """Read files of one set.

    Args:
        image: the column with `{"bytes", "path"}` or bytes; None: the one that the features call an image.
        label: the column with class indices, or names; None: the one that the features call a class label.
        names: the classes, where the features do not say them.

    Raises:
        DataError: an unreadable file, no such column, a label without a class, an image that is not in the file.
    """
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    images: list[ImageBytes] = []
    labels: list[int] = []
    ids: list[str] = []
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                features = _features(file.schema_arrow.metadata)
                columns = list(file.schema_arrow.names)
                image = _column(path, columns, features, "image", "Image", image)
                label = _column(path, columns, features, "label", "ClassLabel", label)
                names = names or features.get(label, {}).get("names")
                rows = file.read([image, label]).to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{path} cannot be read: {reason}.", "Download the file again.") from error
        if names is None:
            names = _sorted_texts(path, label, rows)
        for number, row in enumerate(rows, 1):
            where = f"{path.name}, row {number}"
            images.append(_image(where, row[image]))
            labels.append(_label(where, row[label], names))
            ids.append(f"{path.name}/{number}")
    return Content(tuple(images), tuple(labels), tuple(ids), tuple(names or ()))


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _column(
    path: Path, columns: Sequence[str], features: Mapping[str, Any], what: str, kind: str, asked: str | None
) -> str:
    typed = [name for name, feature in features.items() if feature.get("_type") == kind]
    if asked is None and len(typed) == 1:
        return typed[0]
    name = asked or what
    if name not in columns or (asked is None and len(typed) > 1):
        raise DataError(
            f"{path} has no column '{name}' (columns found: {', '.join(columns)}).{did_you_mean(name, columns)}",
            f"Say which column is the {what}: `{what}: NAME` in the YAML file.",
        )
    return name


def _sorted_texts(path: Path, label: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    values = {row[label] for row in rows}
    if not all(isinstance(value, str) for value in values):
        raise DataError(
            f"{path}: the labels are numbers, and the file does not say which classes they mean.",
            "List the classes in the YAML file, in the order of their numbers.",
        )
    return sorted(values)


def _image(where: str, value: object) -> ImageBytes:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(data, bytes):
        raise DataError(f"{where} holds no encoded image.", "Use files that hold their images, as the hub's do.")
    return ImageBytes(data, where)


def _label(where: str, value: object, names: Sequence[str]) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    raise DataError(f"{where} has the label {value!r}, which is none of {len(names)} classes.", "Correct the classes.")
