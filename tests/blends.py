"""Blending a model with another checkpoint from the command line, and comparing every bit of what came out."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def blend(model: Path | str, other: Path | str, *more: object, target: str = "all") -> tuple[object, ...]:
    flags = ("--model", model, "--manipulator", "blend", "--set", f"manipulator.model={other}")
    return (*flags, "--target", target, "--workers", 0, *more)


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, read with the safetensors package."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two models have the same tensors, in every bit."""
    return a.keys() == b.keys() and all(
        (one.dtype, one.shape) == (b[key].dtype, b[key].shape)
        and torch.equal(one.reshape(-1).view(torch.uint8), b[key].reshape(-1).view(torch.uint8))
        for key, one in a.items()
    )
