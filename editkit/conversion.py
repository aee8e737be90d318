"""Convert a torch archive (.pt, .bin) to safetensors, once. The one piece of file work that imports torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editkit.cache import cache_root
from editkit.errors import ModelError


def converted(archive: Path) -> Path:
    """Return a safetensors file with the archive's tensors, from the cache if it was converted before.

    Only tensors are unpickled (`weights_only=True`). A training checkpoint's `state_dict` is taken out of it, and
    the `module.` that data parallelism puts before every key is dropped.

    Raises:
        ModelError: the archive is no state dict, or holds anything but tensors.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache_root() / "converted" / digest / f"{archive.stem}.safetensors"
    if not target.is_file():
        _convert(archive, target)
    return target


def _convert(archive: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        content: Any = torch.load(archive, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling raises anything
        raise ModelError(
            f"{archive} cannot be read as plain tensors: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            "Convert it to safetensors with the library that wrote it; editkit never unpickles code.",
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{archive} holds no state dict.", "Give a checkpoint with a mapping of names to tensors.")
    tensors = {
        name.removeprefix("module."): tensor.contiguous().clone()
        for name, tensor in content.items()
        if isinstance(tensor, torch.Tensor)
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".partial-{os.getpid()}")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(target)
