"""A checkpoint on disk: tensors in safetensors shards, read by offset and never loaded whole. Numpy, not torch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from editkit.errors import ModelError
from editkit.files.model_folder import split_others
from editkit.files.shard import Bits, TensorInfo, hash_bytes, read_bits, read_header
from editkit.files.source import ModelFolder
from editkit.files.threads import in_threads
from editkit.files.weight_sets import find_weights, named_weights, refuse_archive
from editkit.progress import Stage, silent

__all__ = ["Bits", "Checkpoint", "Pending", "TensorInfo", "closest_key", "over_tensors", "summary"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pending:
    """What is to be done before a checkpoint's weights can be read: a download, a conversion."""

    what: str
    """In words, for a plan: "1,711 MB to download"."""
    bring: Callable[[Stage], Checkpoint]


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a folder, as facts: what is where. Opening one reads headers only.

    `files` are the shards and `index` their index, if any. `others` travel with an edited copy; `left_out` must not,
    because they hold the same weights again, unedited.
    """

    root: Path
    files: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    left_out: tuple[str, ...] = ()
    index: str | None = None
    others: tuple[str, ...] = ()
    alone: bool = False
    """Whether one file was given: then its neighbours in `root` are not part of the checkpoint."""
    pending: Pending | None = field(default=None, compare=False)
    """None: its weights are here. Else `tensors` holds what is known: of archives, what the architecture has."""

    @classmethod
    def open(cls, path: str | Path, *, files: Sequence[str] = (), holding: Collection[str] = ()) -> Checkpoint:
        """Open a model folder or one safetensors file.

        Args:
            path: a folder, or a safetensors file (then that file alone is the checkpoint).
            files: names inside the folder, where it holds the weights of several libraries: shards, or one index.
            holding: keys that must be there; a set of weights that holds them is preferred over one that does not.

        Raises:
            ModelError: no such path, no weights, several equally good sets of weights, a missing shard, an index that
                does not describe its shards, a damaged file, a torch archive.
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise ModelError(f"There is no model at {path}.", "Give a model folder, a .safetensors file or a hub id.")
        try:
            return cls._open(path, files, holding)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}.", "Check the model's files and permissions.") from error

    @classmethod
    def _open(cls, path: Path, files: Sequence[str], holding: Collection[str]) -> Checkpoint:
        if not path.is_dir():
            refuse_archive(path)
            return cls(path.parent, (path.name,), read_header(path, path.name), alone=True)
        folder = ModelFolder(str(path), path)
        found = named_weights(folder, files) if files else find_weights(folder, holding)
        if found.archives:
            refuse_archive(path / found.files[0])
        others, twins = split_others(path, {*found.files, found.index})
        return cls(path, found.files, found.tensors, twins, found.index, others)

    def here(self, stage: Stage = silent) -> Checkpoint:
        """Return the checkpoint with its weights on this disk, in safetensors: downloaded or converted if need be.

        Raises:
            ModelError: the hub refuses, or an archive holds anything but tensors.
        """
        return self if self.pending is None else self.pending.bring(stage)

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """The folders that belong to this model, in which nothing may be written."""
        model_folder = any((self.root / name).exists() for name in ("config.json", "open_clip_config.json"))
        return () if self.alone and not model_folder else (self.root,)

    def info(self, key: str) -> TensorInfo:
        """Where tensor `key` lies; ModelError where there is none."""
        if key not in self.tensors:
            raise ModelError(f"{self.root} has no tensor '{key}'.", "`editkit diff` shows what two checkpoints hold.")
        return self.tensors[key]

    def read(self, key: str) -> Bits:
        """Return a copy of one tensor's bit patterns, unsigned integers of its item size, in its shape."""
        return read_bits(self.root, self.info(key))

    def digest(self, key: str) -> str:
        """Return the sha256 (hex) of one tensor's bytes."""
        return hash_bytes(self.root, self.info(key))

    def identity(self, without: Collection[str] = (), done: Callable[[int], None] | None = None) -> str:
        """Return a sha256 (hex) that changes with any name, dtype, shape or bit, except of the tensors in `without`.

        Sharding and the order of tensors do not matter. `done(1)` is called for every tensor hashed.
        """
        keys = [key for key in self.tensors if key not in without]
        return summary((self.tensors[key] for key in keys), over_tensors(self.digest, keys, self.tensors, done))


def closest_key(key: str, keys: Iterable[str]) -> str:
    """Return the one of `keys` most like one that is missing; empty where none is like it.

    The same behind another prefix comes first, then the same of the nearest layer, then one that is spelt alike.
    """
    known = sorted(keys)
    prefixed = [other for other in known if other.endswith(f".{key}") or key.endswith(f".{other}")]
    layers = sorted(
        (other for other in known if _NUMBER.sub("#", other) == _NUMBER.sub("#", key)),
        key=lambda other: [abs(a - b) for a, b in zip(_numbers(other), _numbers(key), strict=True)],
    )
    return next(iter([*prefixed, *layers, *get_close_matches(key, known, n=1)]), "")


_NUMBER = re.compile(r"\d+")


def _numbers(key: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(key)]


def summary(infos: Iterable[TensorInfo], digests: Mapping[str, str]) -> str:
    """Return the sha256 (hex) over one line of JSON [key, dtype, shape, digest] per tensor, sorted by key."""
    ordered = sorted(infos, key=lambda info: info.key)
    lines = ([info.key, info.dtype, list(info.shape), digests[info.key]] for info in ordered)
    return sha256("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()).hexdigest()


def over_tensors(
    work: Callable[[str], Result],
    keys: Collection[str],
    tensors: Mapping[str, TensorInfo],
    done: Callable[[int], None] | None = None,
) -> dict[str, Result]:
    """Do `work` for each key in threads, the largest tensor first; see `in_threads`."""
    ordered = sorted(keys, key=lambda key: tensors[key].start - tensors[key].stop)
    return dict(zip(ordered, in_threads(work, ordered, done), strict=True))
