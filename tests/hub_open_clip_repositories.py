"""Repositories in open_clip's and timm's formats as they are on the hub, and small architectures of published names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coca_models
import open_clip
from hub_transformers_repositories import MEAN, STD, archive, clip, clip_config, surround, write_json
from open_clip_models import HALF, own_vision, random_tensors, settings_like, siglip_settings, t5_tokenizer
from safetensors.torch import load_file, save_file
from test_open_clip import ported
from test_timm import tiny_timm
from torch import Tensor

CLIP = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
COCA = "coca_ViT-L-14"


def laion_settings() -> dict[str, Any]:
    """ViT-B-32 of the width and depth that transformers' small models have."""
    tower = clip_config()["vision_config"]
    small = {"width": tower["hidden_size"], "layers": tower["num_hidden_layers"], "mlp_ratio": 2.0}
    images = {"image_size": tower["image_size"], "patch_size": tower["patch_size"], "head_width": small["width"] // 2}
    return settings_like("ViT-B-32", embed_dim=24, vision=small | images, text=small | {"heads": 2})


def openai_settings() -> dict[str, Any]:
    """ViT-B-16 of 2 layers a tower."""
    return settings_like("ViT-B-16", embed_dim=24, vision=own_vision(), text={"mlp_ratio": 2.0})


def open_clip_files(
    folder: Path, settings: dict[str, Any], preprocess: dict[str, Any], state: dict[str, Tensor]
) -> None:
    """Write open_clip's config and its weights in both formats."""
    surround(folder)
    write_json(folder / "open_clip_config.json", {"model_cfg": settings, "preprocess_cfg": preprocess})
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    archive(folder, state, name="open_clip_pytorch_model")


def laion(folder: Path) -> None:
    """Like laion/CLIP-ViT-B-32-laion2B-s34B-b79K: one model twice, as transformers and as open_clip store it."""
    clip(folder, act="gelu", others=())
    state = ported(load_file(folder / "model.safetensors"))
    open_clip_files(folder, laion_settings(), CLIP, state)


def timm_files(folder: Path, architecture: str, **arguments: Any) -> None:
    """Write timm's config and the weights of an image tower in both formats."""
    tiny_timm(folder, architecture, **arguments)
    archive(folder, load_file(folder / "model.safetensors"))
    surround(folder, licence="apache-2.0")


def openai_by_timm(folder: Path, settings: dict[str, Any], architecture: str) -> None:
    """Like timm/vit_base_patch16_clip_224.openai: timm's image tower, and beside it open_clip's whole model."""
    timm_files(folder, architecture, num_classes=24)
    open_clip_files(folder, settings | {"quick_gelu": True}, CLIP, random_tensors(settings))


def siglip_by_timm(folder: Path) -> None:
    """Like timm/ViT-B-16-SigLIP: open_clip's model with T5's tokens; needs the module `open_clip_models` imported."""
    settings = siglip_settings()
    open_clip_files(folder, settings, HALF, random_tensors(settings))
    t5_tokenizer(folder)
    write_json(folder / "special_tokens_map.json", {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"})


def coca(folder: Path) -> None:
    """Like laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k."""
    with TemporaryDirectory() as place:
        coca_models.tiny_coca(Path(place) / "made", COCA)
        state = load_file(Path(place) / "made" / "weights" / "epoch_3.safetensors")
    open_clip_files(folder, coca_models.tiny_settings(COCA), CLIP, state)


def small_architectures(folder: Path) -> str:
    """Write small ones of published names; return the code that makes open_clip take them in a new process.

    There `open_clip:NAME/TAG` downloads what it always does, and the repositories of this module fit it.
    """
    small = {"ViT-B-32": laion_settings(), "ViT-B-16": openai_settings(), COCA: coca_models.tiny_settings(COCA)}
    small["ViT-B-16-SigLIP"] = siglip_settings()
    folder.mkdir(parents=True)
    for name, settings in small.items():
        (folder / f"{name}.json").write_text(json.dumps(settings))
    return f"import open_clip_models\nopen_clip_models.open_clip.add_model_config({str(folder)!r})"


def repository_of(name: str, tag: str) -> str:
    """Return the hub id that `open_clip:NAME/TAG` downloads from."""
    return str(open_clip.get_pretrained_cfg(name, tag)["hf_hub"]).rstrip("/")


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": laion,
    "timm/vit_base_patch16_clip_224.openai": partial(
        openai_by_timm, settings=openai_settings(), architecture="vit_base_patch16_clip_224"
    ),
    "timm/vit_base_patch32_clip_224.openai": partial(
        openai_by_timm, settings=laion_settings(), architecture="vit_base_patch32_clip_224"
    ),
    "timm/vit_base_patch16_siglip_224.webli": partial(timm_files, architecture="vit_base_patch16_siglip_224"),
    "timm/ViT-B-16-SigLIP": siglip_by_timm,
    "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k": coca,
}
"""By hub id."""
