"""Which CLIP another one was trained from, told by its config."""

from __future__ import annotations

from typing import Any

import pytest

from editkit_clip.base_model import base_of

BASE = "openai/clip-vit-large-patch14"


def shaped(width: int, patch: int, size: int) -> dict[str, Any]:
    return {"vision_config": {"hidden_size": width, "patch_size": patch, "image_size": size}}


LARGE = shaped(1024, 14, 224)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LARGE, BASE),
        (shaped(1024, 14, 336), f"{BASE}-336"),
        (shaped(768, 32, 224), "openai/clip-vit-base-patch32"),
        (shaped(768, 16, 224), "openai/clip-vit-base-patch16"),
        (shaped(1280, 14, 224), "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        (shaped(1024, 14, 512), ""),
        ({"vision_config": {"image_size": [224, 224]}}, ""),
        ({}, "openai/clip-vit-base-patch32"),  # what the class itself takes for granted
        ({"vision_config": None, "vision_config_dict": LARGE["vision_config"]}, BASE),
        (LARGE | {"_name_or_path": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"}, "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
        (LARGE | {"text_config": {"_name_or_path": "openai/clip-vit-base-patch32"}}, "openai/clip-vit-base-patch32"),
        (LARGE | {"_name_or_path": "aimagelab/safeclip_vit-l_14"}, BASE),
        (LARGE | {"_name_or_path": "./clip-vit-large"}, BASE),
        (LARGE | {"_name_or_path": "org/somebert"}, BASE),
        (LARGE | {"_name_or_path": "org/clip-mine"}, BASE),  # its own
    ],
)
def test_the_base_is_told_by_the_config(config: dict[str, Any], expected: str) -> None:
    assert base_of("org/clip-mine@v2", config) == expected
