"""CLIP for editkit: both formats that its weights are published in."""

from __future__ import annotations

from editkit.plugin import OPEN_CLIP, AdapterSpec, hookimpl

REFERENCE = "Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """CLIP in transformers' format and in open_clip's."""
    return [
        AdapterSpec(
            name="clip",
            summary="CLIP in transformers' format: a folder or a hub id",
            target="editkit_clip.transformers_format:TransformersClip",
            reference=REFERENCE,
            model_types=("clip",),
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
