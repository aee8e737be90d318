"""Tokenizers and image processors that are another model's are refused before any weight is read, in every family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import done
from hub_cache import into_cache
from layouts import alter
from llava_models import tiny_llava
from models import PROCESSING, table, tiny_clip
from open_clip_models import tiny_open_clip_siglip
from siglip_models import tiny_naflex, tiny_siglip

import editkit
from editkit.errors import ModelError

BASE = "openai/clip-vit-base-patch32"
COPY = "Copy the tokenizer files"


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        load()
    assert str(caught.value).count("\n") == 1
    return caught.value.problem


def text_config(folder: Path, part: str = "text_config", **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    alter(folder / "config.json", **{part: {**config[part], **values}})


def resized(folder: Path, size: dict[str, Any]) -> None:
    """Let the folder's image processor make images of another size."""
    processor = folder / "processor_config.json"
    if processor.is_file():
        content = json.loads(processor.read_text())
        content.get("image_processor", {}).update(size)
        processor.write_text(json.dumps(content))
    alter(folder / "preprocessor_config.json", **size)


# a base model's


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CLIP without any, and in the hub's cache, which cannot be reached, those of a base of the same sizes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    whole = tiny_clip(tmp_path / "whole")
    into_cache(tmp_path / "hub", BASE, whole, leaving_out=("config.json", "model.safetensors"))
    folder = shutil.copytree(whole, tmp_path / "bare", ignore=shutil.ignore_patterns(*PROCESSING))
    alter(folder / "config.json", _name_or_path=BASE)
    return folder


def test_a_base_whose_parts_fit_lends_them(bare: Path) -> None:
    assert editkit.load(str(bare)).embed_texts(["a dog"]).shape == (1, 24)


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("text_config", {"vocab_size": 1530}, f"that of {BASE} has 1523 ids, not the 1530 that it embeds"),
        ("text_config", {"eos_token_id": 1521}, f"tokenizer of {BASE} ends captions with id 1522"),
        ("vision_config", {"image_size": 48}, f"image processor of {BASE} makes images of 60 x 60 pixels"),
    ],
)
def test_a_base_whose_parts_do_not_fit_lends_none(bare: Path, part: str, values: dict[str, int], said: str) -> None:
    text_config(bare, part, **values)
    assert said in refused(lambda: editkit.load(str(bare)))


# a model's own


def test_a_caption_is_cut_to_the_context_whatever_the_tokenizer_allows(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "m")
    alter(folder / "tokenizer_config.json", model_max_length=10_000)
    assert editkit.load(str(folder)).embed_texts(["word " * 500]).shape == (1, 24)


@pytest.mark.parametrize("change", ["ids", "size"])
def test_siglip(change: str, tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "m")
    if change == "ids":
        text_config(folder, vocab_size=20)
        assert "text tower of" in refused(lambda: editkit.load(str(folder)))
    else:
        resized(folder, {"size": {"height": 32, "width": 32}})
        assert "makes images of 32 x 32 pixels" in refused(lambda: editkit.load(str(folder)))


def test_naflex_takes_images_of_any_size_in_patches_of_its_own(tmp_path: Path) -> None:
    folder = tiny_naflex(tmp_path / "m")
    resized(folder, {"patch_size": 4})
    assert "cuts patches of 4 pixels" in refused(lambda: editkit.load(str(folder)))


def test_siglip_of_open_clip(tmp_path: Path) -> None:
    folder = tiny_open_clip_siglip(tmp_path / "m")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["vocab_size"] = 20
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert "the text tower of" in refused(lambda: editkit.load(str(folder)))


@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("change", ["ids", "size"])
def test_llava_and_its_captions(change: str, family: str, tmp_path: Path) -> None:
    folder = tiny_llava(tmp_path / "m", family=family)
    if change == "ids":
        text_config(folder, vocab_size=20)
        said = "has ids up to"
    else:
        resized(folder, {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}})
        said = "makes images of 32 x 32 pixels"
    assert said in refused(lambda: editkit.load_captioner(str(folder)))


@pytest.mark.parametrize("tiny", [tiny_clip, tiny_siglip, tiny_llava])
def test_images_that_are_not_normalised_are_pointed_out(tiny: Callable[[Path], object], tmp_path: Path) -> None:
    tiny(tmp_path / "m")
    said = "images are not normalised"
    assert said not in done("plan", "--model", tmp_path / "m", "--data", table(tmp_path / "d")).err
    resized(tmp_path / "m", {"do_normalize": False})
    assert said in done("plan", "--model", tmp_path / "m", "--data", table(tmp_path / "d")).err


# adapters


def test_a_llava_is_not_read_with_an_adapter_merged_halfway(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_llava(tmp_path / "m")
    shard, name = folder / "model-00002-of-00003.safetensors", "vision_tower.lora_A.weight"
    tensors = load_file(shard)
    save_file({**tensors, name: tensors["language_model.lm_head.weight"].clone()}, shard, metadata={"format": "pt"})
    for load in (editkit.load_captioner, lambda source: editkit.load(source, towers=("vision",))):
        assert "tensors that its architecture has not" in refused(lambda load=load: load(str(folder)))
