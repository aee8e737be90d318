"""timm's vision transformers for editkit, as image encoders without a text tower."""

from __future__ import annotations

from editkit.plugin import AdapterSpec, hookimpl

EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """Plain image encoders of timm."""
    return [
        AdapterSpec(
            name="timm",
            summary="timm's vision transformers, images only: a folder, a hub id or timm:NAME@PATH",
            target="editkit_timm.timm_format:TimmEncoder",
            reference="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021",
            prefixes=("timm",),
            files=("config.json",),
            keys=("architecture", "pretrained_cfg"),
            towers=("vision",),
        )
    ]
