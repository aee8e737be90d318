"""The sites of text towers that open_clip takes from Hugging Face's transformers, by their tensors' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from editkit.plugin import ModelError, ModelFiles, Role, Site, promised

TOWER = "text.transformer"
BERT: Mapping[Role, str] = {
    "attn.q": "attention.self.query",
    "attn.k": "attention.self.key",
    "attn.v": "attention.self.value",
    "attn.out": "attention.output.dense",
    "mlp.in": "intermediate.dense",
    "mlp.out": "output.dense",
}
"""The maps of a block of BERT, RoBERTa and XLM-RoBERTa."""
BLOCKS: Mapping[str, Mapping[Role, str]] = {
    f"{TOWER}.encoder.layer": BERT,
    f"{TOWER}.block": {  # mT5
        "attn.q": "layer.0.SelfAttention.q",
        "attn.k": "layer.0.SelfAttention.k",
        "attn.v": "layer.0.SelfAttention.v",
        "attn.out": "layer.0.SelfAttention.o",
        "mlp.gate": "layer.1.DenseReluDense.wi_0",
        "mlp.in": "layer.1.DenseReluDense.wi_1",
        "mlp.out": "layer.1.DenseReluDense.wo",
    },
    f"{TOWER}.layers": {  # M2M100, which NLLB is
        "attn.q": "self_attn.q_proj",
        "attn.k": "self_attn.k_proj",
        "attn.v": "self_attn.v_proj",
        "attn.out": "self_attn.out_proj",
        "mlp.in": "fc1",
        "mlp.out": "fc2",
    },
}
PROJECTIONS: Mapping[str, Role] = {"text.proj": "proj", "text.proj.0": "proj.in", "text.proj.2": "proj"}
"""open_clip's own, behind the pooling: one linear map, or an MLP whose second map leads to the shared space."""


def hugging_face_sites(files: ModelFiles, name: str) -> list[Site]:
    """List the linear maps of the tower's blocks, and of open_clip's projection behind it.

    Args:
        name: the tower's name on the hub, for errors.

    Raises:
        ModelError: its blocks are of no known kind, or lack one of their maps.
    """
    tensors = files.checkpoint.tensors
    blocks = next((found for found in BLOCKS if any(key.startswith(f"{found}.0.") for key in tensors)), None)
    if blocks is None:
        raise ModelError(
            f"The text tower of {files.source} is {name} of Hugging Face's transformers, whose maps this adapter does "
            "not know.",
            "It edits towers like RoBERTa's, XLM-RoBERTa's, mT5's and NLLB's; for others install their adapter.",
        )
    found = list(_block_sites(files, blocks))
    found += [_site(files, 0, role, key) for key, role in PROJECTIONS.items() if f"{key}.weight" in tensors]
    return found


def _block_sites(files: ModelFiles, blocks: str) -> Iterator[Site]:
    layer = 0
    while any(key.startswith(f"{blocks}.{layer}.") for key in files.checkpoint.tensors):
        for role, module in BLOCKS[blocks].items():
            yield _site(files, layer, role, f"{blocks}.{layer}.{module}")
        layer += 1


def _site(files: ModelFiles, layer: int, role: Role, module: str) -> Site:
    rows, columns = promised(files, f"{module}.weight").shape
    bias = f"{module}.bias" if f"{module}.bias" in files.checkpoint.tensors else None
    pooled = role.startswith("proj")
    return Site("text", layer, role, module, f"{module}.weight", (rows, columns), bias=bias, pooled=pooled)
