"""SigLIP and SigLIP 2 for editkit: both formats that their weights are published in."""

from __future__ import annotations

from editkit.plugin import OPEN_CLIP, AdapterSpec, hookimpl

REFERENCE = "Sigmoid Loss for Language Image Pre-Training, ICCV 2023; SigLIP 2, arXiv:2502.14786"

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """SigLIP in transformers' format and in open_clip's; in the former also single towers."""
    return [
        AdapterSpec(
            name="siglip",
            summary="SigLIP and SigLIP 2, NaFlex too, in transformers' format: a folder or a hub id",
            target="editkit_siglip.transformers_format:TransformersSiglip",
            reference=REFERENCE,
            model_types=("siglip", "siglip2"),
        ),
        AdapterSpec(
            name="siglip-text",
            summary="SigLIP's text tower alone: a folder or a hub id",
            target="editkit_siglip.lone_tower:SiglipText",
            reference=REFERENCE,
            model_types=("siglip_text_model",),
            towers=("text",),
        ),
        AdapterSpec(
            name="siglip-vision",
            summary="SigLIP's vision tower alone, as FLUX Redux has it: PIPELINE/image_encoder, a folder or a hub id",
            target="editkit_siglip.lone_tower:SiglipVision",
            reference=REFERENCE,
            model_types=("siglip_vision_model",),
            towers=("vision",),
        ),
        AdapterSpec(
            name="open_clip-siglip",
            summary="SigLIP and SigLIP 2 in open_clip's format: open_clip:NAME/TAG, open_clip:NAME@PATH or a folder",
            target="editkit_siglip.open_clip_format:OpenClipSiglip",
            reference=REFERENCE,
            patterns=("open_clip:*SigLIP*", "open_clip:nllb-clip-*-siglip*"),
            files=("open_clip_config.json",),
            weights=OPEN_CLIP,
            keys=("model_cfg.init_logit_bias",),
        ),
    ]
