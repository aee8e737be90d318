"""The cache: arrays under the hash of everything that they depend on. Whatever goes wrong costs the cache, not the run.

An entry is a safetensors file, so that reading one runs no code. It is written beside its place, synced and renamed. It
carries a checksum: an entry that was damaged since is removed, and counts as none.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from editkit.files.cache_folder import Kind, cache_root, size_limit
from editkit.files.eviction import Room

Arrays = Mapping[str, npt.NDArray[Any]]


class Cache:
    """Entries by kind and key. A key is None where nothing may be cached, since it is not known what it would name.

    Args:
        enabled: False: nothing is read or written.
        tell: called once with a sentence if entries cannot be written; then no more are tried.

    Raises:
        RecipeError: EDITKIT_CACHE_SIZE is no size.
    """

    def __init__(self, *, enabled: bool = True, tell: Callable[[str], None] = lambda sentence: None) -> None:
        self.root = cache_root()
        self.limit = size_limit()
        self.enabled = enabled
        self._writable = True
        self._tell = tell

    def path(self, kind: Kind, key: str) -> Path:
        """Return where an entry is or would be."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: Kind, key: str | None) -> bool:
        """Say whether there is an entry, without reading it."""
        return self.enabled and key is not None and os.path.isfile(self.path(kind, key))  # noqa: PTH113 (never raises)

    def load(self, kind: Kind, key: str | None) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]] | None:
        """Return an entry's arrays and notes, or None; a damaged one is removed."""
        if key is None or not self.has(kind, key):
            return None
        path = self.path(kind, key)
        try:
            found = _read(path)
        except (SafetensorError, ValueError, KeyError):
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None
        with suppress(OSError):  # a cache that can be read only
            os.utime(path)  # used now: what was used longest ago goes first
        return found

    def save(self, kind: Kind, key: str | None, arrays: Arrays, notes: Mapping[str, Any]) -> None:
        """Write an entry, and remove older ones if the cache becomes too large; one above its limit is not kept."""
        size = sum(array.nbytes for array in arrays.values())
        if key is None or not (self.enabled and self._writable) or size > self.limit:
            return
        path = self.path(kind, key)
        try:
            room = self._room  # which counts what is there before this entry is
            replaced = path.stat().st_size if path.exists() else 0
            _write(path, arrays, json.dumps(notes))
            room.add(path, replaced=replaced)
        except (OSError, SafetensorError) as error:
            self._writable = False
            self._tell(f"The cache {self.root} cannot be written ({error}): this run continues without it.")

    @cached_property
    def _room(self) -> Room:
        return Room(self.limit)


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    with safe_open(path, framework="np") as file:
        about = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _checksum(arrays, about["notes"]) != about["checksum"]:
        raise ValueError(f"{path} is damaged")
    return arrays, json.loads(about["notes"])


def _write(path: Path, arrays: Arrays, notes: str) -> None:
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        save_file(held, partial, metadata={"notes": notes, "checksum": _checksum(held, notes)})
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _checksum(arrays: Arrays, notes: str) -> str:
    """Return the sha256 (hex) of arrays with their names, dtypes and shapes, and of the notes beside them."""
    digest = sha256(notes.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype} {array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
