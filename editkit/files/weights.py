"""A model's weights, wherever they are: opened by their headers, downloaded or converted only when they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from editkit.files import conversion
from editkit.files.checkpoint import Checkpoint, Pending
from editkit.files.hub import MB
from editkit.files.model_folder import split_others
from editkit.files.shard import ITEM_BITS, TensorInfo
from editkit.files.source import ModelFolder, model_folder
from editkit.files.weight_names import WeightNames
from editkit.files.weight_sets import WeightSet, find_weights, is_archive, library_weights
from editkit.files.wrapped_names import plain_names
from editkit.progress import Stage

Outline = Callable[[], Mapping[str, tuple[int, ...]]]
"""Gives the shapes of an architecture's tensors by key, without weights."""
Names = Callable[[], Collection[str]]
"""Gives names that the model's tensors should have."""


def open_weights(
    folder: ModelFolder, names: WeightNames, outline: Outline, dtype: str = "F32", *, alone: bool = False
) -> Checkpoint:
    """Open the weights that a library reads of a folder: headers only.

    Args:
        folder: a model's, here or on the hub.
        names: what the library calls them.
        outline: the tensors of the architecture, asked for where the weights are archives: those are not unpickled
            before they are read.
        dtype: theirs, as safetensors calls it, as far as it is known.
        alone: whether the folder's other files belong to another model.

    Returns:
        The checkpoint; `here` brings its weights where they are on the hub, or in a form that has to be converted.

    Raises:
        ModelError: there are no weights of these names, or they are damaged; the hub says no.
    """
    opened = _pending(folder, library_weights(folder, names), names, outline, dtype, expected=outline)
    return _alone(opened) if alone else opened


def open_any_weights(source: str | Path, holding: Collection[str] = (), first: WeightNames | None = None) -> Checkpoint:
    """Open weights of whatever family: of a folder, of one file, of a hub id.

    Args:
        holding: keys that must be there; a set of weights that holds them is preferred over one that does not.
        first: what the family's library calls them, if the family is known.

    Raises:
        ModelError: no such model, or no weights.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _open_file(path, dict, lambda: holding)
    folder = model_folder(source)
    found = find_weights(folder, holding, first)
    return _pending(folder, found, first or WeightNames(), dict, "F32", expected=lambda: holding)


def open_file(path: Path, outline: Outline) -> Checkpoint:
    """Open one file of weights; what has to be converted is so when its weights are read.

    Raises:
        ModelError: it is no safetensors file.
    """
    return _open_file(path, outline, outline)


def _open_file(path: Path, outline: Outline, expected: Names) -> Checkpoint:
    if not is_archive(path):
        return _unwrapped(Checkpoint.open(path), expected)

    def bring(stage: Stage) -> Checkpoint:
        return _unwrapped(Checkpoint.open(_converted(path, {}, stage)), expected).here(stage)

    what = f"{path.name}, a torch archive, is to be converted"
    return Checkpoint(path.parent, (path.name,), outlined(outline(), "F32"), alone=True, pending=Pending(what, bring))


def _unwrapped(checkpoint: Checkpoint, expected: Names) -> Checkpoint:
    """Return a lone safetensors file under its tensors' plain names."""
    names = plain_names(checkpoint.tensors, expected)
    if all(key == name for key, name in names.items()):
        return checkpoint
    path = checkpoint.root / checkpoint.files[0]
    pending = Pending(f"{path.name} is to be converted", lambda stage: Checkpoint.open(_converted(path, names, stage)))
    return replace(checkpoint, tensors=_renamed(checkpoint.tensors, names), pending=pending)


def _converted(path: Path, names: Mapping[str, str], stage: Stage) -> Path:
    with stage(f"converting {path.name}", 1) as advance:
        converted = conversion.converted_file(path, names)
        advance(1)
    return converted


def _alone(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint without the files beside it, now and when its weights are here."""
    pending = checkpoint.pending
    later = None if pending is None else Pending(pending.what, lambda stage: _alone(pending.bring(stage)))
    return replace(checkpoint, alone=True, others=(), left_out=(), pending=later)


def outlined(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, TensorInfo]:
    """Return tensors of these shapes as if one file held them, one behind the other."""
    infos: dict[str, TensorInfo] = {}
    start = 0
    for key, shape in shapes.items():
        info = TensorInfo(key, dtype, tuple(shape), "", start, start)
        stop = start + info.size * ITEM_BITS[dtype] // 8
        infos[key] = replace(info, stop=stop)
        start = stop
    return infos


def _pending(
    folder: ModelFolder, found: WeightSet, names: WeightNames, outline: Outline, dtype: str, *, expected: Names
) -> Checkpoint:
    """Return the checkpoint of a set of weights, and what is to be done before they can be read."""
    others, twins = split_others(folder.root, {*found.files, found.index})
    opened = Checkpoint(folder.root, found.files, found.tensors, twins, found.index, others)
    wanted = [name for name in (*found.files, *filter(None, (found.index,))) if folder.lacks(name)]
    download = f"{-(-sum(map(folder.size, wanted)) // MB):,} MB to download" if wanted else ""
    plain = plain_names(found.tensors, expected)
    if not found.archives and all(key == name for key, name in plain.items()):
        return replace(opened, pending=Pending(download, _brought(folder, wanted, found))) if wanted else opened

    def converted(root: Path, weights: WeightSet, renamed: Mapping[str, str], stage: Stage) -> Path:
        with stage(f"converting {weights.files[0]}", 1) as advance:
            made = conversion.converted_folder(root, weights.files, weights.index, names.safetensors, renamed)
            advance(1)
        return made

    def bring(stage: Stage) -> Checkpoint:
        folder.fetch(wanted, stage)
        made = Checkpoint.open(converted(folder.root, found, plain, stage), files=(names.safetensors,))
        inner = plain_names(made.tensors, expected)
        if any(key != name for key, name in inner.items()):  # known only now that the archive was read
            read = WeightSet(made.files, made.tensors)
            made = Checkpoint.open(converted(made.root, read, inner, stage), files=(names.safetensors,))
        return replace(made, left_out=twins)

    convert = f"{found.files[0]} is to be converted"
    tensors = outlined(outline(), dtype) if found.archives else _renamed(found.tensors, plain)
    return replace(opened, tensors=tensors, pending=Pending(", ".join(filter(None, (download, convert))), bring))


def _brought(folder: ModelFolder, wanted: list[str], found: WeightSet) -> Callable[[Stage], Checkpoint]:
    def bring(stage: Stage) -> Checkpoint:
        folder.fetch(wanted, stage)
        files = (found.index,) if found.index else found.files
        return Checkpoint.open(folder.root, files=files)

    return bring


def _renamed(tensors: Mapping[str, TensorInfo], names: Mapping[str, str]) -> dict[str, TensorInfo]:
    return {names[key]: replace(info, key=names[key]) for key, info in tensors.items()}
