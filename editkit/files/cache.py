"""The cache: scores and embeddings, each under the hash of everything it depends on, and remembered file digests.

An entry is a safetensors file, so loading one runs no code; it appears whole (written beside, then renamed).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from editkit.files.digests import file_key

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.files.checkpoint import Checkpoint

FORMAT = 1
"""Raised when the meaning of an entry changes, so that older ones are never served."""


def cache_root() -> Path:
    """Return EDITKIT_CACHE_DIR, or the user's cache folder."""
    given = os.environ.get("EDITKIT_CACHE_DIR")
    return Path(given) if given else Path(platformdirs.user_cache_dir("editkit"))


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the sha256 of the facts an entry depends on."""
    return hashlib.sha256(json.dumps({"format": FORMAT, **facts}, sort_keys=True).encode()).hexdigest()


class Cache:
    """Entries of one kind ("scores", "embeddings"); `enabled=False` neither reads nor writes."""

    def __init__(self, kind: str, *, enabled: bool = True) -> None:
        self.folder = cache_root() / kind
        self.enabled = enabled

    def path(self, key: str) -> Path:
        """Return where the entry of `key` is or would be."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Say whether there is an entry, without reading it."""
        return self.enabled and self.path(key).is_file()

    def load(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return an entry's tensors and notes, or None; a damaged entry is removed and counts as none."""
        if not self.has(key):
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), framework="pt") as file:
                notes = json.loads((file.metadata() or {}).get("notes", "{}"))
                return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
        except (SafetensorError, OSError, ValueError):
            self.path(key).unlink(missing_ok=True)
            return None

    def save(self, key: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Write an entry; a full or read-only disk costs the cache, never the run."""
        if not self.enabled:
            return
        from safetensors.torch import save_file

        path = self.path(key)
        partial = path.with_suffix(f".partial-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
            save_file(held, partial, metadata={"notes": json.dumps(notes)})
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)


def remembered_digests() -> dict[str, str]:
    """Return digests of files by (real path, size, mtime, inode), kept between runs.

    Only `plan` trusts them: a run that edits or evaluates hashes what it reads.
    """
    try:
        known = json.loads((cache_root() / "digests.json").read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(digests: Mapping[str, str]) -> None:
    """Keep digests for later plans; a disk that cannot be written is no reason to fail a run."""
    path = cache_root() / "digests.json"
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(remembered_digests() | dict(digests)))
        partial.replace(path)


def files_key(checkpoint: Checkpoint) -> str:
    """Name the present content of a checkpoint's files without reading them."""
    return "weights|" + "|".join(file_key(checkpoint.root / name) for name in checkpoint.files)
