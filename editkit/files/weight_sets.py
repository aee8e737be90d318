"""Finds the weights in a model folder: one file, shards and their index, or one of several libraries' sets."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from editkit.errors import ModelError
from editkit.files.model_folder import ARCHIVE_SUFFIXES, INDEX
from editkit.files.shard import TensorInfo, read_header

TRANSFORMERS = ("model.safetensors", "model.safetensors.index.json")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_model.safetensors.index.json")
ZIP, PICKLES = b"PK\x03\x04", (b"\x80\x02", b"\x80\x04")
CONVERT = "`editkit edit --model ... --save DIR` converts such a checkpoint once: use the folder it writes."


@dataclass(frozen=True)
class WeightSet:
    """One set of weights in a folder: its shards, its index (if it has one), and every tensor's place."""

    files: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    index: str | None = None


def find_weights(root: Path, holding: Collection[str]) -> WeightSet:
    """Return the weights that transformers or open_clip would load, or another set if only that has all of `holding`.

    The folder's config says which library comes first; of one library's names the single file comes before the shards.

    Raises:
        ModelError: no safetensors weights, or several sets of which none is the obvious one, or a damaged set.
    """
    ranked, others = _candidates(root)
    if not ranked:
        others = _without_shards(root, others)
    if not ranked and not others:
        _refuse_without_weights(root)
    sets = [_open_set(root, ranked[0] if ranked else others[0])] if ranked or len(others) == 1 else []
    if sets and set(holding) <= set(sets[0].tensors):
        return sets[0]
    fitting = _fitting(root, [*ranked[1:], *others], set(holding)) if holding else []
    if fitting and (len(fitting) == 1 or set(fitting[0].files) <= {*TRANSFORMERS, *OPEN_CLIP}):
        return fitting[0]
    if not sets:
        raise ModelError(
            f"{root} holds several sets of weights: {', '.join(others)}.", "Give the one you mean by its own path."
        )
    return sets[0]


def named_weights(root: Path, files: Sequence[str]) -> WeightSet:
    """Return the weights in the named files of `root`: shards, or one index.

    Raises:
        ModelError: a file is missing or damaged, or two of them hold the same tensor.
    """
    return _open_index(root, files[0]) if files[0].endswith(INDEX) else _open_shards(root, tuple(files))


def refuse_archive(path: Path) -> None:
    """Raise ModelError for a torch archive, even where its name does not say so: its first bytes do, zip or pickle."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if path.name.endswith(ARCHIVE_SUFFIXES) or magic == ZIP or magic[:2] in PICKLES:
        raise ModelError(f"{path} is a torch archive; this command reads safetensors only.", CONVERT)


def _candidates(root: Path) -> tuple[list[str], list[str]]:
    """Return (names that the libraries load, best first; all other safetensors files and indexes)."""
    names = sorted(entry.name for entry in root.iterdir() if entry.name.endswith((".safetensors", INDEX)))
    only_open_clip = (root / "open_clip_config.json").exists() and not (root / "config.json").exists()
    order = (*OPEN_CLIP, *TRANSFORMERS) if only_open_clip else (*TRANSFORMERS, *OPEN_CLIP)
    return [name for name in order if name in names], [name for name in names if name not in order]


def _without_shards(root: Path, names: list[str]) -> list[str]:
    """Drop the files that an index among `names` lists: on their own they are not a set of weights."""
    shards = {shard for name in names if name.endswith(INDEX) for shard in _weight_map(root, name).values()}
    return [name for name in names if name not in shards]


def _refuse_without_weights(root: Path) -> None:
    archives = sorted(entry.name for entry in root.iterdir() if entry.name.endswith(ARCHIVE_SUFFIXES))
    if archives:
        raise ModelError(f"{root} holds only a torch archive, {archives[0]}; this command reads safetensors.", CONVERT)
    raise ModelError(f"{root} holds no safetensors weights.", "Give the folder or the file that does.")


def _fitting(root: Path, names: list[str], holding: set[str]) -> list[WeightSet]:
    found = []
    for name in names:
        with suppress(ModelError):  # a broken set of weights that nobody asked for is no reason to fail
            weights = _open_set(root, name)
            if holding <= set(weights.tensors):
                found.append(weights)
    return found


def _open_set(root: Path, name: str) -> WeightSet:
    return _open_index(root, name) if name.endswith(INDEX) else _open_shards(root, (name,))


def _open_shards(root: Path, files: tuple[str, ...]) -> WeightSet:
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for key, info in read_header(root / file, file).items():
            if key in tensors:
                raise ModelError(
                    f"Tensor '{key}' is both in {tensors[key].file} and in {file} of {root}.",
                    "Remove the copy that is not used, or save the model again.",
                )
            tensors[key] = info
    return WeightSet(files, tensors)


def _open_index(root: Path, name: str) -> WeightSet:
    """Open the shards an index names, and check that each tensor lies where the index says."""
    places = _weight_map(root, name)
    shards = tuple(sorted(set(places.values())))
    for shard in shards:
        if not (root / shard).is_file():
            raise ModelError(f"{root / name} names {shard}, which is missing.", "Download or copy that shard too.")
    tensors = _open_shards(root, shards).tensors
    for key, shard in places.items():
        if key not in tensors or tensors[key].file != shard:
            raise ModelError(
                f"{root / name} says that '{key}' is in {shard}, but it is not.",
                "The index belongs to other shards: copy index and shards together.",
            )
    return WeightSet(shards, tensors, name)


def _weight_map(root: Path, name: str) -> dict[str, str]:
    try:
        content: Any = json.loads((root / name).read_text(encoding="utf-8"))
        places: dict[str, str] = content["weight_map"]
        if not places:
            raise ValueError("its weight_map is empty")
        for shard in places.values():
            path = PurePosixPath(shard)
            if path.is_absolute() or ".." in path.parts or "\\" in shard:
                raise ValueError(f"it names {shard}, which is outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{root / name} is not an index of shards: {error}.", "Download or copy it again.") from error
    return places
