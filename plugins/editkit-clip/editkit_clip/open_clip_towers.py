"""The sites of open_clip's towers: its own transformers, and timm's and Hugging Face's where it builds on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editkit.plugin import ModelError, ModelFiles, Role, Site, Tower, promised
from editkit_clip.hugging_face_text import hugging_face_sites
from editkit_timm.architecture import vit_shapes
from editkit_timm.vit_sites import vit_sites

BLOCKS: Mapping[Tower, tuple[str, ...]] = {
    "text": ("transformer.resblocks", "text.transformer.resblocks"),
    "vision": ("visual.transformer.resblocks",),
}
RAW_PROJECTIONS: Mapping[Tower, tuple[str, ...]] = {
    "text": ("text_projection", "text.text_projection"),
    "vision": ("visual.proj",),
}
"""Parameters [I, O] that a tower multiplies with, with no module of their own."""
LINEAR_PROJECTIONS: Mapping[Tower, tuple[str, ...]] = {
    "text": ("text_projection", "text.text_projection"),
    "vision": ("visual.head.proj",),
}
FUSED: tuple[Role, ...] = ("attn.q", "attn.k", "attn.v")
MODULES: Mapping[Role, str] = {"attn.out": "attn.out_proj", "mlp.in": "mlp.c_fc", "mlp.out": "mlp.c_proj"}
TRUNK = "visual.trunk."
OTHER_ADAPTER = "It edits open_clip's transformers, timm's and Hugging Face's; for other towers install their adapter."


def tower_sites(files: ModelFiles, tower: Tower) -> list[Site]:
    """List the linear maps of a tower; q, k and v are rows of one tensor.

    Raises:
        ModelError: the tower is no transformer, or one that is not known; says what it is.
    """
    if tower == "text" and (name := _settings(files, tower).get("hf_model_name")):
        return hugging_face_sites(files, name)
    timm_name = _settings(files, tower).get("timm_model_name")
    if tower == "vision" and timm_name:
        source = f"The vision tower of {files.source}"
        vit_shapes(source, timm_name, {"num_classes": 0})
        trunk = {key: info for key, info in files.checkpoint.tensors.items() if key.startswith(TRUNK)}
        found = vit_sites(source, trunk, TRUNK)
    else:
        found = _own_sites(files, tower)
    tensors = files.checkpoint.tensors
    found += [_raw_projection(files, tower, key) for key in RAW_PROJECTIONS[tower] if key in tensors]
    for module in LINEAR_PROJECTIONS[tower]:
        if f"{module}.weight" in tensors:
            found.append(_linear(files, tower, 0, "proj", module, pooled=True))
    return found


def _own_sites(files: ModelFiles, tower: Tower) -> list[Site]:
    tensors = files.checkpoint.tensors
    blocks = next((name for name in BLOCKS[tower] if f"{name}.0.attn.in_proj_weight" in tensors), None)
    if blocks is None:
        raise ModelError(
            f"The {tower} tower of {files.source} is {_described(files, tower)}, which this adapter does not edit.",
            OTHER_ADAPTER,
        )
    found: list[Site] = []
    layer = 0
    while f"{blocks}.{layer}.attn.in_proj_weight" in tensors:
        found += _block_sites(files, tower, layer, f"{blocks}.{layer}")
        layer += 1
    return found


def _described(files: ModelFiles, tower: Tower) -> str:
    """Say what a tower is that is none of those known, by its configuration or by its first tensor."""
    if isinstance(_settings(files, tower).get("layers"), Sequence):
        return "a ResNet"
    own = [key for key in files.checkpoint.tensors if key.startswith("visual.") == (tower == "vision")]
    return f"no transformer of open_clip's: it begins with {min(own)}" if own else "not in the checkpoint"


def _settings(files: ModelFiles, tower: Tower) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = files.config["model_cfg"].get(f"{tower}_cfg", {})
    return settings


def _block_sites(files: ModelFiles, tower: Tower, layer: int, block: str) -> list[Site]:
    tensors = files.checkpoint.tensors
    fused, bias = f"{block}.attn.in_proj_weight", f"{block}.attn.in_proj_bias"
    width = tensors[fused].shape[1]
    sites = [
        Site(
            tower,
            layer,
            role,
            f"{block}.attn",
            fused,
            (width, width),
            rows=(part * width, (part + 1) * width),
            bias=bias if bias in tensors else None,
        )
        for part, role in enumerate(FUSED)
    ]
    return sites + [_linear(files, tower, layer, role, f"{block}.{name}") for role, name in MODULES.items()]


def _linear(files: ModelFiles, tower: Tower, layer: int, role: Role, module: str, *, pooled: bool = False) -> Site:
    rows, columns = promised(files, f"{module}.weight").shape
    bias = f"{module}.bias" if f"{module}.bias" in files.checkpoint.tensors else None
    return Site(tower, layer, role, module, f"{module}.weight", (rows, columns), bias=bias, pooled=pooled)


def _raw_projection(files: ModelFiles, tower: Tower, key: str) -> Site:
    inputs, outputs = files.checkpoint.tensors[key].shape
    return Site(tower, 0, "proj", "", key, (outputs, inputs), transposed=True, pooled=True)
