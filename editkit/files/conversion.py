"""Convert torch archives (.pt, .bin) to safetensors, once. The one piece of file work that imports torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from editkit.errors import ModelError, OutputError
from editkit.files.cache_folder import CONVERTED, cache_root
from editkit.files.model_folder import split_others
from editkit.files.outputs import copy_file, new_folder
from editkit.files.weight_sets import ZIP, is_archive
from editkit.files.wrapped_names import plain_name

if TYPE_CHECKING:
    from torch import Tensor


def converted_file(archive: Path, renamed: Mapping[str, str] | None = None) -> Path:
    """Return a safetensors file with an archive's tensors, from the cache if it was converted before.

    Args:
        archive: a torch archive, or a safetensors file whose tensors are to have other names.
        renamed: key -> name, where it is not the key without what torch's wrappers put into it.

    Raises:
        ModelError: the archive is no state dict, or holds anything but tensors.
    """
    name = f"{archive.stem}.safetensors"
    place = f"{_digest([archive], renamed or {})}-{archive.stem}"  # equal files may have two names
    return _kept(place, name, [archive], {}, renamed or {}) / name


def converted_folder(
    folder: Path, weights: Sequence[str], index: str | None, name: str, renamed: Mapping[str, str] | None = None
) -> Path:
    """Return a copy of a model folder, in the cache, whose weights are one safetensors file.

    Args:
        folder: a model folder.
        weights: names of its weight files in it: archives, or safetensors whose tensors are to have other names.
        index: of these, if they are shards.
        name: what the converted file is called ("model.safetensors").
        renamed: see `converted_file`.

    Raises:
        ModelError: an archive is no state dict, or holds anything but tensors.
    """
    archives = [folder / weight for weight in weights]
    others = {other: folder / other for other in split_others(folder, {*weights, index})[0]}
    place = _digest([*archives, *others.values()], {**(renamed or {}), **{other: other for other in others}})
    return _kept(place, name, archives, others, renamed or {})


def _kept(
    place: str, name: str, archives: Sequence[Path], others: Mapping[str, Path], renamed: Mapping[str, str]
) -> Path:
    """Return a folder of the cache, written unless it is there; of a cache that cannot be, one for this process."""
    folder = cache_root() / CONVERTED / place
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # used now
        return folder
    try:
        _write(folder, name, archives, others, renamed)
    except OutputError:
        if not folder.is_dir():  # else another process was quicker
            folder = Path(_temporary().name, place)
            if not folder.is_dir():  # else it was converted before in this process
                _write(folder, name, archives, others, renamed)
    return folder


@cache
def _temporary() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="editkit-")


def _digest(files: Sequence[Path], names: Mapping[str, str]) -> str:
    """Return a sha256 of files and names, and of the code that converts them."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + json.dumps(sorted(names.items())).encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _write(
    folder: Path, name: str, archives: Sequence[Path], others: Mapping[str, Path], renamed: Mapping[str, str]
) -> None:
    from safetensors.torch import save_file

    held = {key: tensor for archive in archives for key, tensor in _tensors(archive).items()}
    tensors = {renamed.get(key) or plain_name(key): tensor for key, tensor in held.items()}
    with new_folder(folder) as partial:
        save_file(tensors, partial / name, metadata={"format": "pt"})
        for other, file in others.items():
            copy_file(file, partial / other)


def _tensors(archive: Path) -> dict[str, Tensor]:
    """Read a state dict without running code; a training checkpoint's is taken out of it.

    Raises:
        ModelError: the archive holds anything but tensors, or none, or two models.
    """
    import torch

    try:
        content: Any = _content(archive)
    except Exception as error:  # unpickling raises anything
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{archive} cannot be read as plain tensors: {type(error).__name__}: {reason}",
            "Convert it to safetensors with the library that wrote it; editkit never unpickles code.",
        ) from error
    tensors = {
        str(name): tensor.contiguous().clone()  # tied tensors must not share their memory
        for name, tensor in _state_dict(archive, content).items()
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        raise ModelError(f"{archive} holds no state dict.", "Give a checkpoint with a mapping of names to tensors.")
    return tensors


def _state_dict(archive: Path, content: Any) -> Mapping[str, Any]:
    """Return the mapping of names to tensors that is a training checkpoint's model, whatever it is called there.

    Raises:
        ModelError: there are two that are equally large, such as the weights and their moving average.
    """
    import torch

    if not isinstance(content, Mapping):
        return {}
    parts = {str(name): part for name, part in content.items() if isinstance(part, Mapping)}
    counts = {name: sum(isinstance(one, torch.Tensor) for one in part.values()) for name, part in parts.items()}
    if not any(counts.values()):
        return content
    largest = [name for name, count in counts.items() if count == max(counts.values())]
    if len(largest) > 1:
        raise ModelError(
            f"{archive} holds {len(largest)} models: {', '.join(largest)}.",
            f"Save the one you mean: torch.save(torch.load(PATH)['{largest[0]}'], NEW)",
        )
    return parts[largest[0]]


def _content(archive: Path) -> Any:
    """Return what a file holds, without running code; torch before 1.6 wrote archives that cannot be mapped."""
    import torch
    from safetensors.torch import load_file

    if not is_archive(archive):
        return load_file(archive)
    with archive.open("rb") as stream:
        is_zip = stream.read(4) == ZIP
    return torch.load(archive, map_location="cpu", weights_only=True, mmap=is_zip)
