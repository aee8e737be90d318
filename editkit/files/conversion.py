"""Convert torch archives (.pt, .bin) to safetensors, once. The one piece of file work that imports torch."""

from __future__ import annotations

import hashlib
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

if TYPE_CHECKING:
    from torch import Tensor


def converted_file(archive: Path) -> Path:
    """Return a safetensors file with an archive's tensors, from the cache if it was converted before.

    Raises:
        ModelError: the archive is no state dict, or holds anything but tensors.
    """
    name = f"{archive.stem}.safetensors"
    place = f"{_digest([archive])}-{archive.stem}"  # equal files may have two names
    return _kept(place, name, [archive], {}) / name


def converted_folder(folder: Path, weights: Sequence[str], index: str | None, name: str) -> Path:
    """Return a copy of a model folder, in the cache, whose weights are one safetensors file.

    Args:
        folder: a model folder.
        weights: names of its weight files in it: archives, or safetensors whose keys DistributedDataParallel prefixed.
        index: of these, if they are shards.
        name: what the converted file is called ("model.safetensors").

    Raises:
        ModelError: an archive is no state dict, or holds anything but tensors.
    """
    archives = [folder / weight for weight in weights]
    others = {other: folder / other for other in split_others(folder, {*weights, index})[0]}
    return _kept(_digest([*archives, *others.values()]), name, archives, others)


def _kept(place: str, name: str, archives: Sequence[Path], others: Mapping[str, Path]) -> Path:
    """Return a folder of the cache, written unless it is there; of a cache that cannot be, one for this process."""
    folder = cache_root() / CONVERTED / place
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # used now
        return folder
    try:
        _write(folder, name, archives, others)
    except OutputError:
        if not folder.is_dir():  # else another process was quicker
            folder = Path(_temporary().name, place)
            if not folder.is_dir():  # else it was converted before in this process
                _write(folder, name, archives, others)
    return folder


@cache
def _temporary() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="editkit-")


def _digest(files: Sequence[Path]) -> str:
    """Return a sha256 of files, and of the code that converts them."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _write(folder: Path, name: str, archives: Sequence[Path], others: Mapping[str, Path]) -> None:
    from safetensors.torch import save_file

    tensors = {key: tensor for archive in archives for key, tensor in _tensors(archive).items()}
    with new_folder(folder) as partial:
        save_file(tensors, partial / name, metadata={"format": "pt"})
        for other, file in others.items():
            copy_file(file, partial / other)


def _tensors(archive: Path) -> dict[str, Tensor]:
    """Read a state dict without running code; a training checkpoint's is taken out of it, `module.` is dropped."""
    import torch

    try:
        content: Any = _content(archive)
    except Exception as error:  # unpickling raises anything
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{archive} cannot be read as plain tensors: {type(error).__name__}: {reason}",
            "Convert it to safetensors with the library that wrote it; editkit never unpickles code.",
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = {
        str(name).removeprefix("module."): tensor.contiguous().clone()  # tied tensors must not share their memory
        for name, tensor in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        raise ModelError(f"{archive} holds no state dict.", "Give a checkpoint with a mapping of names to tensors.")
    return tensors


def _content(archive: Path) -> Any:
    """Return what a file holds, without running code; torch before 1.6 wrote archives that cannot be mapped."""
    import torch
    from safetensors.torch import load_file

    if archive.suffix == ".safetensors":
        return load_file(archive)
    with archive.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    return torch.load(archive, map_location="cpu", weights_only=True, mmap=is_zip)
