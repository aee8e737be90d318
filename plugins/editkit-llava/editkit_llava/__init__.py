"""LLaVA and its kin for editkit: their vision towers are edited, and whole models asked what they say of images."""

from __future__ import annotations

from functools import partial

from editkit.plugin import AdapterSpec, hookimpl

EDITKIT_API = 1

Family = partial(AdapterSpec, target="editkit_llava.adapter:Llava", captions=True)


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """Vision-language models in transformers' format, whose vision tower is CLIP's or SigLIP's."""
    return [
        Family(
            name="llava",
            summary="LLaVA-1.5, NeXT, NeXT-Video, OneVision, VipLLaVA in transformers' format: a folder or a hub id",
            reference="Improved Baselines with Visual Instruction Tuning, CVPR 2024",
            model_types=("llava", "llava_next", "llava_next_video", "llava_onevision", "vipllava"),
            recipe={"selector.tau": 0.085},  # the paper's for LLaVA
        ),
        Family(
            name="paligemma",
            summary="PaliGemma and PaliGemma 2 in transformers' format: a folder or a hub id",
            reference="PaliGemma: A versatile 3B VLM for transfer, arXiv:2407.07726",
            model_types=("paligemma",),
        ),
        Family(
            name="gemma3",
            summary="Gemma 3 with its vision tower in transformers' format: a folder or a hub id",
            reference="Gemma 3 Technical Report, arXiv:2503.19786",
            model_types=("gemma3",),
        ),
        Family(
            name="smolvlm",
            summary="SmolVLM and Idefics3 in transformers' format: a folder or a hub id",
            reference="SmolVLM: Redefining small and efficient multimodal models, arXiv:2504.05299",
            model_types=("idefics3", "smolvlm"),
        ),
    ]
