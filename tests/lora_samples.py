"""LoRA adapters as PEFT writes them: adapter_config.json, and matrices under base_model.model.MODULE.lora_A.weight."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

QUERIES = [f"{tower}_model.encoder.layers.{layer}.self_attn.q_proj" for tower in ("text", "vision") for layer in (0, 1)]


def write_adapter(
    folder: Path,
    shapes: Mapping[str, tuple[int, int]],
    *,
    rank: int = 2,
    alpha: float = 4,
    ranks: Mapping[str, int] | None = None,
    prefix: str = "base_model.model.",
    more: Mapping[str, Tensor] | None = None,
    **config: Any,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Write an adapter of modules whose weights are [O, I]; return A and B of each."""
    draw = torch.Generator().manual_seed(0)
    made: dict[str, tuple[Tensor, Tensor]] = {}
    for module, (outputs, inputs) in shapes.items():
        r = (ranks or {}).get(module, rank)
        made[module] = torch.randn(r, inputs, generator=draw), torch.randn(outputs, r, generator=draw)
    folder.mkdir(parents=True)
    tensors = {
        f"{prefix}{module}.lora_{part}.weight": tensor.contiguous()
        for module, pair in made.items()
        for part, tensor in zip("AB", pair, strict=True)
    }
    save_file(tensors | dict(more or {}), folder / "adapter_model.safetensors")
    written = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(written | config))
    return made


def shapes_of(model: Path, modules: Sequence[str] = QUERIES) -> dict[str, tuple[int, int]]:
    """The shapes of modules' weights in a checkpoint."""
    held = load_file(model / "model.safetensors")
    return {module: (held[f"{module}.weight"].shape[0], held[f"{module}.weight"].shape[1]) for module in modules}
