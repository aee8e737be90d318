"""What a checkpoint does not say and its architecture's published weights disagree about is told, by name."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from command_line import done
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip_models import outline, sparse_checkpoint
from safetensors.torch import save_file

from editkit_clip.open_clip_format import OpenClip

NAMES = [name for name in open_clip.list_models() if list_pretrained_tags_by_model(name)]


def notes_on(name: str, folder: Path) -> str:
    save_file({"logit_scale": torch.zeros(())}, folder / "w.safetensors")
    return "\n".join(OpenClip().open(f"open_clip:{name}@{folder / 'w.safetensors'}").notes)


def tags_for_quick_gelu(name: str) -> list[str]:
    return [tag for tag in list_pretrained_tags_by_model(name) if get_pretrained_cfg(name, tag).get("quick_gelu")]


def test_the_plan_says_which_activation_is_assumed_and_how_to_ask_for_the_other(tmp_path: Path) -> None:
    checkpoint = sparse_checkpoint(tmp_path / "finetuned.safetensors", outline(open_clip.get_model_config("ViT-B-32")))
    told = " ".join(done("plan", "--model", f"open_clip:ViT-B-32@{checkpoint}").err.split())
    assert "activation GELU assumed: published weights of ViT-B-32 are for GELU (17 tags)" in told
    assert "and for QuickGELU (openai, laion400m_e31" in told
    assert "for those write open_clip:ViT-B-32-quickgelu@PATH" in told


def test_where_all_published_weights_are_for_the_other_it_says_that(tmp_path: Path) -> None:
    assert "published weights of ViT-L-14-336 are for QuickGELU (openai)" in notes_on("ViT-L-14-336", tmp_path)


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16-plus-240", "ViT-B-16-SigLIP"])
def test_where_they_agree_nothing_is_said_of_the_activation(name: str, tmp_path: Path) -> None:
    assert "activation" not in notes_on(name, tmp_path)


def test_every_architecture_that_is_told_of_has_the_twin_that_is_named(tmp_path: Path) -> None:
    asked = [
        name for name in NAMES if tags_for_quick_gelu(name) and not open_clip.get_model_config(name).get("quick_gelu")
    ]
    assert len(asked) >= 10
    for name in asked:
        assert f"{name}-quickgelu" in open_clip.list_models()
        assert set(tags_for_quick_gelu(name)) == set(list_pretrained_tags_by_model(f"{name}-quickgelu"))


def test_how_images_are_prepared_is_told_where_published_weights_differ(tmp_path: Path) -> None:
    told = notes_on("ViT-L-14", tmp_path)
    assert "mean 0.481 0.458 0.408, std 0.269 0.261 0.276 assumed for images" in told
    assert "are also for mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (laion2b_s32b_b82k)" in told
    assert "resize_mode shortest assumed for images" in notes_on("ViT-H-14-quickgelu", tmp_path)
    assert "assumed for images" not in notes_on("ViT-B-16", tmp_path)
