"""Published architectures of open_clip and timm, small enough for a test: the same towers with less of everything."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import timm
from hugging_face_towers import settings_with, xlm_roberta_tokenizer
from open_clip_models import (
    HALF,
    SMALL_VIT,
    bert_tokenizer,
    mt5_tokenizer,
    own_vision,
    settings_like,
    t5_tokenizer,
    tiny_vit,
    write_folder,
)
from timm.models import register_model, save_for_hf

STEMMED = {"depth": 1, "img_size": 32, "patch_size": 1}
SIZES = {
    "vit_base_mci_224": {**STEMMED, "embed_dim": 768, "num_heads": 12},  # as wide as their convolutional stems end
    "vitamin_base_224": {**STEMMED, "embed_dim": 768, "num_heads": 12},
    "vitamin_small_224": {**STEMMED, "embed_dim": 384, "num_heads": 6},
}
TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "bert-base-uncased": bert_tokenizer,
    "google/mt5-base": mt5_tokenizer,
    "facebook/xlm-v-base": xlm_roberta_tokenizer,
    "timm/*SigLIP2*": mt5_tokenizer,  # Gemma's is padded with 0 too, and ends captions with 1
    "timm/*SigLIP*": t5_tokenizer,
}


def small_timm(folder: Path, architecture: str) -> Path:
    """A folder as the hub has them, written by timm, with a small random model of one of its architectures."""
    arguments = {"num_classes": 0, **SMALL_VIT, **SIZES.get(architecture, {})}
    model = tiny_vit(architecture, **arguments)
    size = arguments["img_size"]
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, size, size)}  # as newer releases of timm write it
    save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
    return folder


def small_open_clip(folder: Path, architecture: str) -> Path:
    """A folder as the hub has them with a small random model of one of open_clip's architectures, CoCa's excepted."""
    settings = open_clip.get_model_config(architecture)
    if "hf_model_name" in settings["text_cfg"]:
        place = write_folder(folder / "model", settings_with(architecture, folder / "text"))
        for file in (folder / "text").glob("*token*"):
            (place / file.name).write_bytes(file.read_bytes())
        return place
    tokenizer = settings["text_cfg"].get("hf_tokenizer_name")
    timm_name = settings["vision_cfg"].get("timm_model_name")
    vision = {"timm_model_name": _small_name(timm_name), "image_size": 32} if timm_name else own_vision()
    text = {"vocab_size": 600} if tokenizer else {}
    width = SMALL_VIT["embed_dim"] if settings["vision_cfg"].get("timm_proj") == "none" else 24
    return write_folder(
        folder / "model",
        settings_like(architecture, vision=vision, text=text, embed_dim=width),
        tokenizer=next((TOKENIZERS[name] for name in TOKENIZERS if fnmatchcase(tokenizer or "", name)), None),
        preprocess=HALF if "SigLIP" in architecture else None,
    )


@cache
def _small_name(architecture: str) -> str:
    """Register a small model of one of timm's architectures, since open_clip builds them by their names alone."""

    def build(pretrained: bool = False, **given: Any) -> Any:
        return timm.create_model(
            architecture, pretrained=pretrained, **{**SMALL_VIT, **SIZES.get(architecture, {}), **given}
        )

    build.__name__ = f"{architecture}_editkit"
    register_model(build)
    return build.__name__
