"""The tensors of a checkpoint in torch, mapped from its files: memory is taken only for those that are copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editkit.files.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(checkpoint: Checkpoint, wanted: Callable[[str], bool] = lambda key: True) -> dict[str, Tensor]:
    """Return those tensors of a checkpoint whose keys are wanted, and of no other file in its folder."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for file in checkpoint.files:
        with safe_open(checkpoint.root / file, framework="pt") as shard:
            found |= {key: shard.get_tensor(key) for key in tuple(shard.keys()) if wanted(key)}
    return found
