"""Parquet files as Hugging Face publishes image classification sets: encoded images, and labels with their names.

The names of the classes are in the files' own schema, where `datasets` keeps what it calls features. The images are
held in memory, as encoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from editkit.data.readers.content import Content
from editkit.data.readers.images import ImageBytes
from editkit.data.readers.labels import hint_of_float
from editkit.errors import DataError, did_you_mean
from editkit.files.paths import user_path
from editkit.files.whole_text import half_pair


def parquet_files(pattern: str, folder: Path) -> list[Path]:
    """Return the files that a pattern matches, sorted: `*` is any part of a name, `**` any folders.

    Args:
        pattern: relative to `folder`, absolute, or with `~`; a file that is called exactly so is meant itself.

    Raises:
        DataError: nothing matches.
    """
    asked = str(user_path(pattern)) if pattern else ""
    exact = folder / asked
    names = [asked] if exact.is_file() else glob(asked, root_dir=folder, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute patterns)
    files = sorted(path for path in map(folder.joinpath, names) if path.is_file())
    if not files:
        here = f"Correct `parquet`; a relative pattern starts at the YAML file, in {folder.absolute()}."
        inside = f"It is a folder: write `parquet: {pattern}/*.parquet`."
        raise DataError(f"No file matches `parquet: '{pattern}'`.", inside if pattern and exact.is_dir() else here)
    return files


def read_parquet(
    files: Sequence[Path], image: str | None = None, label: str | None = None, names: Sequence[str] | None = None
) -> Content:
    """Read files of one set; the classes are those of all files together.

    Args:
        image: the column with `{"bytes", "path"}` or bytes; None: the one that the features call an image.
        label: the column with class indices, or names; None: the one that the features call a class label.
        names: the classes, where the features do not say them.

    Raises:
        DataError: an unreadable file, no such column, a label without a class, an image that is not in the file.
    """
    images: list[ImageBytes] = []
    labels: list[tuple[tuple[str, ...], int | str]] = []
    ids: list[str] = []
    for path, called in zip(files, _distinct_names(files), strict=True):
        rows, own = _read_file(path, image, label)
        known = tuple(names or own)
        for number, (picture, value) in enumerate(rows, 1):
            where = f"{called}, row {number}"
            images.append(_image(where, picture))
            labels.append((known, _label(where, value, known, path)))
            ids.append(f"{called}/{number}")
    classes, indices = _together(labels)
    return Content(tuple(images), indices, tuple(ids), classes or tuple(names or ()))


def _together(labels: Sequence[tuple[tuple[str, ...], int | str]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the classes of all files, and each label's place among them.

    Args:
        labels: the classes that a label's file lists, and its place there, or, where it lists none, its own text.
    """
    lists = dict.fromkeys(known for known, _ in labels)
    if len(lists) == 1 and (known := next(iter(lists))):
        return known, tuple(int(place) for _, place in labels)  # by place: two classes may have one name
    texts = [known[place] if isinstance(place, int) else place for known, place in labels]
    listed = dict.fromkeys(name for known in lists for name in known)
    classes = (*listed, *sorted(set(texts) - set(listed)))
    places = {name: place for place, name in enumerate(classes)}
    return classes, tuple(places[name] for name in texts)


def _read_file(path: Path, image: str | None, label: str | None) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
    """Return the images and labels of a file, and the names of its classes, where it says them."""
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            features = _features(file.schema_arrow.metadata)
            columns = list(file.schema_arrow.names)
            image = _column(path, columns, features, "image", "Image", image)
            label = _column(path, columns, features, "label", "ClassLabel", label)
            rows = file.read([image, label]).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path} cannot be read: {reason}.", "Download the file again.") from error
    return [(row[image], row[label]) for row in rows], tuple(features.get(label, {}).get("names") or ())


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """Return what ids and errors call the files: their names, or, where two have the same, their paths from the folder
    that all are in."""
    names = [path.name for path in files]
    if len(set(names)) == len(names):
        return names
    shared = Path(os.path.commonpath([path.parent for path in files]))
    return [path.relative_to(shared).as_posix() for path in files]


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


def _image(where: str, value: object) -> ImageBytes:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(data, bytes):
        raise DataError(f"{where} holds no encoded image.", "Use files that hold their images, as the hub's do.")
    return ImageBytes(data, where)


def _label(where: str, value: object, names: Sequence[str], path: Path) -> int | str:
    """Return the place of a row's class in the list of its file, or, where there is no list, its name."""
    if isinstance(value, str) and (value in names or not names):
        if half := half_pair(value):
            raise DataError(f"{where}: the label holds {half}.", "Correct the file.")
        return names.index(value) if names else value
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    if not names:
        raise DataError(
            f"{path}: the labels are numbers, and the file does not say which classes they mean.",
            f"{hint_of_float(value)}List the classes in the YAML file, in the order of their numbers.",
        )
    raise DataError(
        f"{where} has the label {value!r}, which is none of {len(names)} classes.",
        f"{hint_of_float(value)}Correct the classes.",
    )
