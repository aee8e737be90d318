"""webdataset shards as CLIP Benchmark publishes them.

    classnames.txt                          a class a line; line i names label i
    zeroshot_classification_templates.txt   a prompt a line, {c} where the class goes
    test/0.tar, test/1.tar ...              s0000000.webp (or .png, .jpg ...) and s0000000.cls, the label in digits;
                                            a sample may lie in a folder: pizza/0000.jpg and pizza/0000.cls
    test/nshards.txt                        how many shards there are

A tar file is read by its headers; images stay in it until they are decoded. Nothing is unpacked, and nothing but text
and images is read.
"""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path, PurePosixPath

from editkit.data.readers.content import Content, LazyImage
from editkit.data.readers.image_files import image_suffixes
from editkit.errors import DataError


def read_shards(folder: Path, split: str = "test") -> Content:
    """Read all shards of one split.

    Raises:
        DataError: a missing or damaged shard or list, a sample without image or label, a label without a class.
    """
    names, templates = _lines(folder / "classnames.txt"), _lines(folder / "zeroshot_classification_templates.txt")
    rows = []
    for shard in _shards(folder / split):
        rows += _samples(shard)
    wrong = next(((key, label) for _, label, key in rows if not 0 <= label < len(names)), None)
    if wrong:
        raise DataError(
            f"{folder}: '{wrong[0]}' has label {wrong[1]}, but classnames.txt has {len(names)} classes.",
            "Download the set again.",
        )
    if not rows:
        raise DataError(f"{folder / split} has no samples.", "Download the set again.")
    images, labels, ids = zip(*rows, strict=True)
    return Content(images, labels, ids, names, tuple(template.replace("{c}", "{}") for template in templates))


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Download the set again; it lies beside test/.") from error
    if not lines:
        raise DataError(f"{path} is empty.", "Download the set again.")
    return lines


def _shards(folder: Path) -> list[Path]:
    text = _lines(folder / "nshards.txt")[0]
    if not text.isdecimal():
        raise DataError(f"{folder / 'nshards.txt'} holds '{text}', not a number.", "Download the set again.")
    shards = [folder / f"{number}.tar" for number in range(int(text))]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise DataError(
            f"{folder} lacks {len(missing)} of its {len(shards)} shards, first {missing[0]}.",
            "Download them, or write the number of those there into nshards.txt for a partial copy.",
        )
    return shards


def _samples(shard: Path) -> list[tuple[LazyImage, int, str]]:
    """Read a shard's headers and labels; a sample is the files of one folder that share a name up to its first dot."""
    images: dict[str, LazyImage] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as file:
            for member in file:
                path = PurePosixPath(member.name)
                stem, _, extension = path.name.partition(".")
                kind = images if f".{extension.lower()}" in image_suffixes() else labels if extension == "cls" else None
                if kind is None or not stem or member.isdir():
                    continue
                if not member.isreg():
                    raise ValueError(f"'{member.name}' is a link, not a file")
                key = f"{shard.name}/{path.parent / stem}"
                if key in kind:
                    raise ValueError(f"the sample '{key}' has two {'labels' if kind is labels else 'images'}")
                read = partial(read_range, shard, member.offset_data, member.size)
                if kind is labels:
                    labels[key] = int(read())
                else:
                    images[key] = LazyImage(f"{shard}/{member.name}", read)
    except (OSError, ValueError, tarfile.TarError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{shard} cannot be read: {reason}.", "Download the shard again.") from error
    if alone := sorted(images.keys() ^ labels.keys()):
        lacks = "label (.cls)" if alone[0] in images else "image"
        raise DataError(f"{shard}: sample '{alone[0]}' has no {lacks}.", "Download the shard again.")
    return [(image, labels[key], key) for key, image in images.items()]


def read_range(path: Path, start: int, size: int) -> bytes:
    """Read `size` bytes of a file from `start`."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
