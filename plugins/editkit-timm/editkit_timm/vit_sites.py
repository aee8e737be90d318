"""The sites of timm's vision transformers, from a checkpoint's keys and shapes, wherever the transformer is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editkit.plugin import ModelError, Role, Site, TensorInfo

Maps = Mapping[str, tuple[Role, ...]]
"""Modules, and what each is; several roles are equal parts of its rows, in that order."""

QKV: tuple[Role, ...] = ("attn.q", "attn.k", "attn.v")
ATTENTIONS: tuple[Maps, ...] = (
    {"attn.qkv": QKV, "attn.proj": ("attn.out",)},
    {"attn.q_proj": ("attn.q",), "attn.k_proj": ("attn.k",), "attn.v_proj": ("attn.v",), "attn.proj": ("attn.out",)},
)
MLPS: tuple[Maps, ...] = (
    {"mlp.fc1": ("mlp.in",), "mlp.fc2": ("mlp.out",)},
    {"mlp.fc1_g": ("mlp.gate",), "mlp.fc1_x": ("mlp.in",), "mlp.fc2": ("mlp.out",)},  # SwiGLU: EVA-02, DINOv3
    {"mlp.w0": ("mlp.gate",), "mlp.w1": ("mlp.in",), "mlp.w2": ("mlp.out",)},  # GeGLU: ViTamin
)
PACKED: Maps = {"mlp.fc1": ("mlp.gate", "mlp.in"), "mlp.fc2": ("mlp.out",)}
"""SwiGLU in one matrix, as DINOv2's giant has it: act(first half) * second half, which halves what fc2 takes."""
BIASES: Mapping[Role, str] = {"attn.q": "attn.q_bias", "attn.v": "attn.v_bias"}
"""Where EVA and BEiT keep the biases of `attn.qkv`, whose keys have none."""
POOL: Maps = {
    "attn_pool.kv": ("pool.attn.k", "pool.attn.v"),
    "attn_pool.q": ("pool.attn.q",),
    "attn_pool.proj": ("pool.attn.out",),
    "attn_pool.mlp.fc1": ("pool.mlp.in",),
    "attn_pool.mlp.fc2": ("pool.mlp.out",),
}


def vit_sites(source: str, tensors: Mapping[str, TensorInfo], prefix: str = "") -> list[Site]:
    """List the linear maps of the transformer's blocks, of its pooling head and of its `head`, where it has them.

    What comes before the blocks is no site: patches are embedded by convolutions, and so are ViTamin's first two
    stages. The pooling head's query is learned: it and what follows the attention see one token per image. Its sites
    have layer 0, since there is one such head.

    Args:
        source: what the model is called, for errors.
        tensors: those of the checkpoint that the model has, by key.
        prefix: what its keys begin with ("visual.trunk.").

    Raises:
        ModelError: a block lacks one of the maps, or there is no block.
    """
    found: list[Site] = []
    depth = 0
    while depth == 0 or any(key.startswith(f"{prefix}blocks.{depth}.") for key in tensors):
        block = f"{prefix}blocks.{depth}."
        for module, roles in {**_form(tensors, block, ATTENTIONS), **_mlp(tensors, block)}.items():
            if f"{block}{module}.weight" not in tensors:
                raise ModelError(
                    f"{source} has blocks that this adapter does not know: there is no {block}{module}.weight.",
                    "It edits blocks with attn.qkv, attn.proj, mlp.fc1 and mlp.fc2, or with the parts of gated MLPs.",
                )
            found += _sites(tensors, block, module, roles, depth)
        depth += 1
    for module, roles in {**POOL, "head": ("proj",)}.items():
        if f"{prefix}{module}.weight" in tensors:
            found += _sites(tensors, prefix, module, roles, 0, pooled=len(roles) == 1)
    return found


def _form(tensors: Mapping[str, TensorInfo], block: str, forms: Sequence[Maps]) -> Maps:
    """Return the form whose first map a block has, or the commonest."""
    return next((maps for maps in forms if f"{block}{next(iter(maps))}.weight" in tensors), forms[0])


def _mlp(tensors: Mapping[str, TensorInfo], block: str) -> Maps:
    first, second = (tensors.get(f"{block}mlp.{name}.weight") for name in ("fc1", "fc2"))
    if first and second and first.shape[0] == 2 * second.shape[1]:
        return PACKED
    return _form(tensors, block, MLPS)


def _sites(
    tensors: Mapping[str, TensorInfo],
    prefix: str,
    module: str,
    roles: tuple[Role, ...],
    layer: int,
    *,
    pooled: bool = False,
) -> list[Site]:
    """Return the sites that are one tensor, or equal parts of its rows."""
    weight = f"{prefix}{module}.weight"
    outputs, inputs = tensors[weight].shape
    width = outputs // len(roles)
    found = []
    for part, role in enumerate(roles):
        names = (f"{prefix}{module}.bias", prefix + BIASES[role] if role in BIASES else "")
        bias = next((name for name in names if name in tensors), None)
        rows = (part * width, (part + 1) * width) if len(roles) > 1 else None
        shape = (width, inputs)
        found.append(Site("vision", layer, role, prefix + module, weight, shape, rows=rows, bias=bias, pooled=pooled))
    return found
