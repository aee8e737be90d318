"""Convert torch archives (.pt, .bin) to safetensors, once. The one piece of file work that imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.errors import ModelError
from editkit.files.cache import cache_root
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
    folder = cache_root() / "converted" / f"{_digest([archive])}-{archive.stem}"  # equal files may have two names
    if not folder.is_dir():
        _write(folder, name, [archive], {})
    return folder / name


def converted_folder(folder: Path, pattern: str, name: str) -> Path:
    """Return a model folder whose weights are safetensors: the one given, or a converted copy of it in the cache.

    Args:
        folder: a model folder.
        pattern: its archives, one or several shards ("pytorch_model*.bin").
        name: what the converted file is called ("model.safetensors").

    Raises:
        ModelError: an archive is no state dict, or holds anything but tensors.
    """
    archives = sorted(folder.glob(pattern))
    if not archives or any(folder.glob("*.safetensors")):
        return folder
    others = {other: folder / other for other in split_others(folder, ())[0]}
    copy = cache_root() / "converted" / _digest([*archives, *others.values()])
    if not copy.is_dir():
        _write(copy, name, archives, others)
    return copy


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
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
        content: Any = torch.load(archive, map_location="cpu", weights_only=True, mmap=True)
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
