"""CoCa for editkit, as open_clip trains and stores it."""

from __future__ import annotations

from editkit.plugin import OPEN_CLIP, AdapterSpec, hookimpl

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """CoCa in open_clip's format."""
    return [
        AdapterSpec(
            name="coca",
            summary="CoCa in open_clip's format: open_clip:coca_NAME/TAG, open_clip:coca_NAME@PATH or a folder",
            target="editkit_coca.adapter:CoCa",
            reference="CoCa: Contrastive Captioners are Image-Text Foundation Models, TMLR 2022",
            files=("open_clip_config.json",),
            weights=OPEN_CLIP,
            keys=("model_cfg.multimodal_cfg",),
            patterns=("open_clip:coca_*",),
            captions=True,
        )
    ]
