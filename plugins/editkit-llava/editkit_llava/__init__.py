"""LLaVA for editkit: its vision tower is edited, and the whole model asked what it says of images."""

from __future__ import annotations

from editkit.plugin import AdapterSpec, hookimpl

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """LLaVA-1.5 and LLaVA-NeXT in transformers' format."""
    return [
        AdapterSpec(
            name="llava",
            summary="LLaVA-1.5 and LLaVA-NeXT in transformers' format: a folder or a hub id",
            target="editkit_llava.adapter:Llava",
            reference="Improved Baselines with Visual Instruction Tuning, CVPR 2024",
            model_types=("llava", "llava_next"),
            captions=True,
            recipe={"selector.tau": 0.085},  # the paper's for LLaVA
        )
    ]
