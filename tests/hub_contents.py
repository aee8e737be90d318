"""What a hub holds: repositories of commits, branches and tags, with the ids that git and git-lfs give their files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha1, sha256
from pathlib import Path
from typing import Literal

from hub_faults import Fault

Kind = Literal["model", "dataset"]
Files = Mapping[str, bytes]
"""Path inside the repository -> content."""
STORED_AS_LFS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".model", ".zip", ".tar"),
    *(".parquet", ".npz", ".npy", ".pkl"),
)
"""As the `.gitattributes` of a new repository has it; everything else is in git itself."""


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    content: bytes
    is_lfs: bool

    @cached_property
    def sha256(self) -> str:
        """The name by which git-lfs knows the content."""
        return sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git itself holds in place of a file of git-lfs."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        """The name by which git knows the content, or the pointer to it."""
        blob = self.pointer if self.is_lfs else self.content
        return sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        """What a client's cache calls the file."""
        return self.sha256 if self.is_lfs else self.oid


@dataclass
class Repository:
    """A model or a data set: `name` is its hub id."""

    name: str
    kind: Kind = "model"
    private: bool = False
    """For those without a token of `readers` there is no such repository."""
    gated: bool = False
    """Everybody may list the files, and `readers` alone may have them."""
    readers: set[str] = field(default_factory=set)
    """Tokens that may read it, private or gated."""
    faults: list[Fault] = field(default_factory=list)
    """The first that is meant for a request, and not used up, happens to it."""
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    _upcoming: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def commit(self, content: Path | Files, branch: str = "main", *, after_next_call: bool = False) -> str:
        """Put a folder's files, or these, on a branch in place of what it had; return the commit's id.

        Args:
            content: hidden files belong to it too.
            after_next_call: the branch moves once it has been asked for, as if somebody pushed between two calls.
        """
        files = read_files(content) if isinstance(content, Path) else content
        made = {path: File(data, path.endswith(STORED_AS_LFS)) for path, data in sorted(files.items())}
        text = f"{self.name} {len(self.commits)} " + " ".join(f"{path} {file.oid}" for path, file in made.items())
        number = sha1(text.encode()).hexdigest()
        self.commits[number] = made
        (self._upcoming if after_next_call else self.branches)[branch] = number
        return number

    def find(self, revision: str) -> str | None:
        """Return the id of the commit that a branch, a tag, or a commit's full or short id names."""
        with self._lock:
            commit = self.branches.get(revision) or self.tags.get(revision)
            if revision in self._upcoming:
                self.branches[revision] = self._upcoming.pop(revision)
        if commit is None and len(revision) >= 7:
            named = [number for number in self.commits if number.startswith(revision)]
            commit = named[0] if len(named) == 1 else None
        return commit


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
