"""Small checkpoints in every layout, written with the safetensors package itself, and looking at folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from editkit.files.shard import unsigned

Tensors = Mapping[str, tuple[str, Any]]
"""Key -> (safetensors dtype, bit patterns)."""
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "U8": torch.uint8},
}


def save(path: Path, tensors: Tensors) -> Path:
    """Write a safetensors file from bit patterns; by torch, since numpy has no bfloat16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {key: torch.from_numpy(np.array(bits)).view(DTYPES[dtype]) for key, (dtype, bits) in tensors.items()}
    save_file(written, path, {"format": "pt"})
    return path


def random_bits(seed: int, dtype: str, *shape: int) -> Any:
    """Random bit patterns of small numbers: no NaN, so that values can be compared too."""
    values = np.random.default_rng(seed).standard_normal(shape)
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    kind = unsigned(dtype)
    assert kind is not None
    return values.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).view(kind)


def tensors(dtype: str = "F32", seed: int = 0) -> dict[str, tuple[str, Any]]:
    """Five tensors of a two-layer model, with a buffer of integers among them."""
    shapes = {"a.weight": (12, 10), "a.bias": (12,), "b.weight": (7, 12), "scale": ()}
    made = {key: (dtype, random_bits(seed + i, dtype, *shape)) for i, (key, shape) in enumerate(shapes.items())}
    return {**made, "position_ids": ("I64", np.arange(5, dtype="<u8"))}


def model_folder(root: Path, dtype: str = "F32", *, shards: int = 1, seed: int = 0) -> Path:
    """A transformers folder: config, tokenizer, a sub-folder, and the weights in one file or several."""
    root.mkdir(parents=True)
    (root / "config.json").write_text('{"model_type": "clip"}')
    (root / "tokenizer.json").write_text("{}")
    (root / "extra").mkdir()
    (root / "extra" / "notes.txt").write_text("kept")
    content = tensors(dtype, seed)
    if shards == 1:
        save(root / "model.safetensors", content)
        return root
    places = {key: f"model-{i % shards + 1:05d}-of-{shards:05d}.safetensors" for i, key in enumerate(content)}
    for file in set(places.values()):
        save(root / file, {key: tensor for key, tensor in content.items() if places[key] == file})
    (root / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return root


def listing(folder: Path) -> list[str]:
    """Every path below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}
