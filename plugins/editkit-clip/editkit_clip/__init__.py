"""CLIP for editkit: both formats that its weights are published in, its kin, and its towers alone."""

from __future__ import annotations

from editkit.plugin import OPEN_CLIP, AdapterSpec, hookimpl

REFERENCE = "Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """CLIP in transformers' format and in open_clip's; in the former also what is built alike, and single towers."""
    return [
        AdapterSpec(
            name="clip",
            summary="CLIP and MetaCLIP 2 in transformers' format: a folder or a hub id",
            target="editkit_clip.transformers_format:TransformersClip",
            reference=REFERENCE,
            model_types=("clip", "metaclip_2"),
        ),
        AdapterSpec(
            name="altclip",
            summary="AltCLIP in transformers' format: a folder or a hub id",
            target="editkit_clip.bert_clip:AltClip",
            reference="AltCLIP: Altering the Language Encoder in CLIP, Findings of ACL 2023",
            model_types=("altclip",),
        ),
        AdapterSpec(
            name="chinese-clip",
            summary="Chinese CLIP in transformers' format: a folder or a hub id",
            target="editkit_clip.bert_clip:ChineseClip",
            reference="Chinese CLIP: Contrastive Vision-Language Pretraining in Chinese, arXiv:2211.01335",
            model_types=("chinese_clip",),
        ),
        AdapterSpec(
            name="clip-text",
            summary="CLIP's text tower alone, as Stable Diffusion has it: PIPELINE/text_encoder, a folder or a hub id",
            target="editkit_clip.lone_tower:ClipText",
            reference=REFERENCE,
            model_types=("clip_text_model",),
            towers=("text",),
        ),
        AdapterSpec(
            name="clip-vision",
            summary="CLIP's vision tower alone, as IP-Adapter has it: PIPELINE/image_encoder, a folder or a hub id",
            target="editkit_clip.lone_tower:ClipVision",
            reference=REFERENCE,
            model_types=("clip_vision_model",),
            towers=("vision",),
        ),
        AdapterSpec(
            name="open_clip",
            summary="CLIP in open_clip's format: open_clip:NAME/TAG, open_clip:NAME@PATH or a folder",
            target="editkit_clip.open_clip_format:OpenClip",
            reference=REFERENCE,
            prefixes=("open_clip",),
            files=("open_clip_config.json",),
            weights=OPEN_CLIP,
        ),
    ]
