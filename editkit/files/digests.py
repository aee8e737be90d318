"""Digests of values and of files: what tells two contents apart, whatever they are called."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from editkit.errors import DataError


def digest_of(value: object) -> str:
    """Return the sha256 of a JSON value; lists keep their elements apart, so no two values run together."""
    return sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()


def fingerprint_of(parts: Iterable[str]) -> str:
    """Return one sha256 over many digests, whatever their order."""
    return digest_of(sorted(parts))


def file_key(path: Path) -> str:
    """Name the present content of a file without reading it: real path, size, time of change, inode.

    Raises:
        DataError: there is no such file.
    """
    try:
        real = path.resolve(strict=True)
        stat = real.stat()
    except OSError as error:
        raise DataError(
            f"The image {path} does not exist.", "Restore the file, or take its item out of the data."
        ) from error
    return f"{real}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
