"""Finds the weights in a model folder: one file, shards and their index, or one of several libraries' sets."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from editkit.errors import ModelError
from editkit.files.model_folder import ANY_INDEX, ARCHIVE_SUFFIXES, is_adapter, is_archives, is_safetensors
from editkit.files.no_weights import TRAINING, no_weights
from editkit.files.shard import TensorInfo
from editkit.files.source import ModelFolder
from editkit.files.weight_names import OPEN_CLIP, TRANSFORMERS, WeightNames

ZIP, PICKLES = b"PK\x03\x04", (b"\x80\x02", b"\x80\x04")
CONVERT = "Name the model as `editkit edit` does (its folder, open_clip:NAME@PATH): an archive is then converted once."


@dataclass(frozen=True)
class WeightSet:
    """One set of weights in a folder: its files, its index (if it has one), and every tensor's place."""

    files: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    """By key; empty where the files are archives, which are not looked into."""
    index: str | None = None
    archives: bool = False


def library_weights(folder: ModelFolder, names: WeightNames) -> WeightSet:
    """Return the weights that a library would load: one file before shards, safetensors before archives.

    Where there are none of its names, the only weights that are there are taken, whatever they are called.

    Raises:
        ModelError: there are none of these names; says what there is instead. Or a damaged set.
    """
    there = folder.names()
    for name in names.all():
        if name in there:
            return _open_set(folder, name)
    others = _other_sets(folder, names)
    if len(others) == 1:
        return _open_set(folder, others[0])
    raise no_weights(folder, names)


def find_weights(folder: ModelFolder, holding: Collection[str], first: WeightNames | None = None) -> WeightSet:
    """Return the weights that a library would load, or another set of the folder if only that has all of `holding`.

    Args:
        holding: keys of tensors.
        first: of the library that comes first; None: the folder's config says whether that is open_clip.

    Raises:
        ModelError: no weights, or several sets of which none is the obvious one, or a damaged set.
    """
    ranked, others = _ranked(folder, first), _other_sets(folder, first)
    names = ranked[:1] if ranked else others if len(others) == 1 else []
    found = _open_set(folder, names[0]) if names else None
    if found and not found.archives and set(holding) <= set(found.tensors):
        return found
    fitting = _fitting(folder, [*ranked[1:], *others], set(holding)) if holding else []
    if fitting and (len(fitting) == 1 or set(fitting[0].files) <= {*TRANSFORMERS.all(), *OPEN_CLIP.all()}):
        return fitting[0]
    if found:
        return found
    if not others:
        raise no_weights(folder, first or TRANSFORMERS)
    raise ModelError(
        f"{folder.source} holds several sets of weights: {', '.join(others)}.",
        "Give the one you mean by its own path.",
    )


def named_weights(folder: ModelFolder, files: Sequence[str]) -> WeightSet:
    """Return the weights in the named files of a folder: shards, or one index.

    Raises:
        ModelError: a file is missing or damaged, or two of them hold the same tensor.
    """
    return _open_index(folder, files[0]) if ANY_INDEX.search(files[0]) else _open_shards(folder, tuple(files))


def is_archive(path: Path) -> bool:
    """Whether a file is a torch archive, even where its name does not say so: its first bytes do, zip or pickle."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) or magic == ZIP or magic[:2] in PICKLES


def refuse_archive(path: Path) -> None:
    """Raise ModelError for a torch archive."""
    if is_archive(path):
        raise ModelError(f"{path} is a torch archive, and safetensors are wanted here.", CONVERT)


def _ranked(folder: ModelFolder, first: WeightNames | None) -> list[str]:
    """Return the names of weights that the libraries load, best first: all of the one that is known to come first."""
    there = folder.names()
    only_open_clip = "open_clip_config.json" in there and "config.json" not in there
    best = first or (OPEN_CLIP if only_open_clip else TRANSFORMERS)
    libraries = [best, *(library for library in (TRANSFORMERS, OPEN_CLIP) if library != best)]
    order = [name for library in libraries for name in (library.safetensors, library.index)]
    order += [name for library in libraries for name in (library.archive, library.archive_index)]
    if first:
        order = [*first.all(), *(name for name in order if name not in first.all())]
    return [name for name in order if name in there]


def _other_sets(folder: ModelFolder, names: WeightNames | None) -> list[str]:
    """Return the sets of weights that are called otherwise, one name each: safetensors, or else archives.

    What another library calls its weights is that library's only where its configuration is there too.
    """
    there = folder.names()
    libraries = {"config.json": TRANSFORMERS, "open_clip_config.json": OPEN_CLIP}
    claimed = {name for config, library in libraries.items() if config in there for name in library.all()}
    known = {*(names.all() if names else ()), *claimed, *TRAINING}
    unknown = sorted(name for name in there if name not in known and not is_adapter(name))
    for is_set in (is_safetensors, is_archives):
        if found := _without_shards(folder, list(filter(is_set, unknown))):
            return found
    return []


def _without_shards(folder: ModelFolder, names: list[str]) -> list[str]:
    """Drop the files that an index among `names` lists: on their own they are not a set of weights."""
    shards = {shard for name in names if ANY_INDEX.search(name) for shard in _weight_map(folder, name).values()}
    return [name for name in names if name not in shards]


def _fitting(folder: ModelFolder, names: list[str], holding: set[str]) -> list[WeightSet]:
    found = []
    for name in filter(is_safetensors, names):
        with suppress(ModelError):  # a broken set of weights that nobody asked for is no reason to fail
            weights = _open_set(folder, name)
            if holding <= set(weights.tensors):
                found.append(weights)
    return found


def _open_set(folder: ModelFolder, name: str) -> WeightSet:
    if is_safetensors(name):
        return _open_index(folder, name) if ANY_INDEX.search(name) else _open_shards(folder, (name,))
    if not ANY_INDEX.search(name):
        return WeightSet((name,), {}, archives=True)
    shards = tuple(sorted(set(_weight_map(folder, name).values())))
    _require(folder, name, shards)
    return WeightSet(shards, {}, name, archives=True)


def _open_shards(folder: ModelFolder, files: tuple[str, ...]) -> WeightSet:
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for key, info in folder.header(file).items():
            if key in tensors:
                raise ModelError(
                    f"Tensor '{key}' is both in {tensors[key].file} and in {file} of {folder.source}.",
                    "Remove the copy that is not used, or save the model again.",
                )
            tensors[key] = info
    return WeightSet(files, tensors)


def _open_index(folder: ModelFolder, name: str) -> WeightSet:
    """Open the shards an index names, and check that each tensor lies where the index says."""
    places = _weight_map(folder, name)
    shards = tuple(sorted(set(places.values())))
    _require(folder, name, shards)
    tensors = _open_shards(folder, shards).tensors
    for key, shard in places.items():
        if key not in tensors or tensors[key].file != shard:
            raise ModelError(
                f"{folder.root / name} says that '{key}' is in {shard}, but it is not.",
                "The index belongs to other shards: copy index and shards together.",
            )
    return WeightSet(shards, tensors, name)


def _require(folder: ModelFolder, index: str, shards: Sequence[str]) -> None:
    for shard in shards:
        if not folder.holds(shard):
            raise ModelError(
                f"{folder.root / index} names {shard}, which is missing.", "Download or copy that shard too."
            )


def _weight_map(folder: ModelFolder, name: str) -> dict[str, str]:
    path = folder.root / name
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        places: dict[str, str] = content["weight_map"]
        if not places:
            raise ValueError("its weight_map is empty")
        for shard in places.values():
            inside = PurePosixPath(shard)
            if inside.is_absolute() or ".." in inside.parts or "\\" in shard:
                raise ValueError(f"it names {shard}, which is outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not an index of shards: {error}.", "Download or copy it again.") from error
    return places
