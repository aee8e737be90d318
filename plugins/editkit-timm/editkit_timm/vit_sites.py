"""The sites of timm's VisionTransformer, from a checkpoint's keys and shapes, wherever the transformer is in it."""

from __future__ import annotations

from collections.abc import Mapping

from editkit.plugin import ModelError, Role, Site, TensorInfo

FUSED: tuple[Role, ...] = ("attn.q", "attn.k", "attn.v")
MODULES: Mapping[Role, str] = {"attn.out": "attn.proj", "mlp.in": "mlp.fc1", "mlp.out": "mlp.fc2"}
POOL_FUSED: tuple[Role, ...] = ("pool.attn.k", "pool.attn.v")
POOL: Mapping[Role, str] = {
    "pool.attn.q": "q",
    "pool.attn.out": "proj",
    "pool.mlp.in": "mlp.fc1",
    "pool.mlp.out": "mlp.fc2",
}


def vit_sites(source: str, tensors: Mapping[str, TensorInfo], prefix: str = "") -> list[Site]:
    """List the linear maps of the transformer's blocks, of its pooling head and of its `head`, where it has them.

    The pooling head's query is learned: it and what follows the attention see one token per image. Its sites have
    layer 0, since there is one such head.

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
        block = f"{prefix}blocks.{depth}"
        needed = [f"{block}.{module}.weight" for module in ("attn.qkv", *MODULES.values())]
        if lacking := [key for key in needed if key not in tensors]:
            raise ModelError(
                f"{source} has blocks that this adapter does not know: there is no {lacking[0]}.",
                "It edits blocks with attn.qkv, attn.proj, mlp.fc1 and mlp.fc2, as timm's plain vit_* models have.",
            )
        found += _fused(tensors, f"{block}.attn.qkv", FUSED, depth)
        found += [_linear(tensors, f"{block}.{module}", role, depth) for role, module in MODULES.items()]
        depth += 1
    if f"{prefix}attn_pool.kv.weight" in tensors:
        found += _fused(tensors, f"{prefix}attn_pool.kv", POOL_FUSED, 0)
    for role, module in {**{role: f"attn_pool.{name}" for role, name in POOL.items()}, "proj": "head"}.items():
        if f"{prefix}{module}.weight" in tensors:
            found.append(_linear(tensors, f"{prefix}{module}", role, 0, pooled=True))
    return found


def _linear(tensors: Mapping[str, TensorInfo], module: str, role: Role, layer: int, *, pooled: bool = False) -> Site:
    rows, columns = tensors[f"{module}.weight"].shape
    return Site(
        "vision", layer, role, module, f"{module}.weight", (rows, columns), bias=_bias(tensors, module), pooled=pooled
    )


def _fused(tensors: Mapping[str, TensorInfo], module: str, roles: tuple[Role, ...], layer: int) -> list[Site]:
    """Return the sites that are equal parts of one tensor's rows."""
    outputs, inputs = tensors[f"{module}.weight"].shape
    width = outputs // len(roles)
    return [
        Site(
            "vision",
            layer,
            role,
            module,
            f"{module}.weight",
            (width, inputs),
            rows=(part * width, (part + 1) * width),
            bias=_bias(tensors, module),
        )
        for part, role in enumerate(roles)
    ]


def _bias(tensors: Mapping[str, TensorInfo], module: str) -> str | None:
    return f"{module}.bias" if f"{module}.bias" in tensors else None
