"""A LLaVA folder that is damaged, incomplete or of another kind: two lines, before any weight is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import as_error, run
from llava_models import LANGUAGE_SHARD, tiny_llava
from models import table

from editkit.errors import ModelError
from editkit_llava.adapter import Llava

ADAPTER = Llava()
INDEX = "model.safetensors.index.json"
MLP = "vision_tower.vision_model.encoder.layers.1.mlp.fc2.weight"
NORM = "vision_tower.vision_model.pre_layrnorm.weight"
HEAD = "language_model.lm_head.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava") / "model")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


def alter(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def without(folder: Path, *keys: str) -> None:
    """Take tensors out of shards and index."""
    from safetensors.torch import load_file, save_file

    places = json.loads((folder / INDEX).read_text())["weight_map"]
    for file in {places[key] for key in keys}:
        held = {key: tensor for key, tensor in load_file(folder / file).items() if key not in keys}
        save_file(held, folder / file)
    alter(folder / INDEX, lambda index: [index["weight_map"].pop(key) for key in keys])


def load(folder: Path, *towers: Any) -> None:
    ADAPTER.load(ADAPTER.open(str(folder)), device="cpu", dtype="float32", towers=towers or ("vision",))


def refused(caught: pytest.ExceptionInfo[ModelError]) -> str:
    assert str(caught.value).count("\n") == 1 and caught.value.remedy.endswith(".")
    return caught.value.problem


def test_an_index_that_names_a_missing_shard_is_refused_when_opened(folder: Path) -> None:
    (folder / LANGUAGE_SHARD).unlink()
    with pytest.raises(ModelError, match=f"names {LANGUAGE_SHARD}, which is missing") as caught:
        ADAPTER.open(str(folder))
    refused(caught)


def test_an_index_that_puts_a_tensor_elsewhere_is_refused_when_opened(folder: Path) -> None:
    alter(folder / INDEX, lambda index: index["weight_map"].update({MLP: LANGUAGE_SHARD}))
    with pytest.raises(ModelError, match=f"says that '{MLP}' is in {LANGUAGE_SHARD}, but it is not") as caught:
        ADAPTER.open(str(folder))
    refused(caught)


def test_a_shard_cut_short_is_refused_when_opened(folder: Path) -> None:
    shard = folder / LANGUAGE_SHARD
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        ADAPTER.open(str(folder))


def test_the_command_line_says_it_in_two_lines(folder: Path, tmp_path: Path) -> None:
    (folder / LANGUAGE_SHARD).unlink()
    data = table(tmp_path / "data", 2, columns=("safe_image", "unsafe_image"))
    assert LANGUAGE_SHARD in as_error(run("plan", "--model", folder, "--data", data))


def test_the_first_missing_tensor_is_named(folder: Path) -> None:
    without(folder, NORM, MLP)
    with pytest.raises(ModelError, match=f"has no tensor {MLP}") as caught:  # a site's: no loading is needed
        ADAPTER.sites(ADAPTER.open(str(folder)))
    refused(caught)
    with pytest.raises(ModelError, match=f"has no tensor {NORM}.* missing: 2") as caught:
        load(folder)
    refused(caught)


def test_a_tensor_of_the_other_tower_is_not_missed(folder: Path) -> None:
    without(folder, "language_model.model.norm.weight")
    load(folder, "vision")
    with pytest.raises(ModelError, match="has no tensor language_model.model.norm.weight"):
        load(folder, "text")


def test_a_whole_model_with_a_missing_tensor_says_nothing(folder: Path) -> None:
    without(folder, HEAD)
    with pytest.raises(ModelError, match="lacks 1 of its model's tensors.* lm_head.weight") as caught:
        ADAPTER.load_captioner(ADAPTER.open(str(folder)), device="cpu", dtype="float32")
    refused(caught)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    alter(folder / "config.json", lambda config: config["vision_config"].update(intermediate_size=47))
    with pytest.raises(
        ModelError, match=r"fc1.weight.* is \[48, 32\], where its config.json says \[47, 32\]"
    ) as caught:
        load(folder)
    refused(caught)


@pytest.mark.parametrize("layer", [-5, 5, 0, [-2, 9], []])
def test_a_feature_layer_that_the_tower_does_not_have_is_refused(folder: Path, layer: Any) -> None:
    alter(folder / "config.json", lambda config: config.update(vision_feature_layer=layer))
    with pytest.raises(ModelError, match="vision_feature_layer .* but it has 4 blocks") as caught:
        ADAPTER.open(str(folder))
    refused(caught)


def test_an_unknown_vision_tower_is_refused_by_name(folder: Path) -> None:
    alter(folder / "config.json", lambda config: config["vision_config"].update(model_type="pixtral"))
    with pytest.raises(ModelError, match="of the kind 'pixtral'") as caught:
        ADAPTER.open(str(folder))
    refused(caught)


def test_an_unknown_language_model_leaves_the_vision_tower_to_edit(folder: Path) -> None:
    alter(folder / "config.json", lambda config: config["text_config"].update(model_type="phi"))
    files = ADAPTER.open(str(folder))
    assert {site.tower for site in ADAPTER.sites(files)} == {"vision"}
    assert "language model (phi)" in files.notes[0]


def test_a_folder_without_a_tokenizer_serves_the_vision_tower_alone(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    load(folder, "vision")
    for attempt in (
        lambda: load(folder, "text"),
        lambda: ADAPTER.load_captioner(ADAPTER.open(str(folder)), device="cpu", dtype="float32"),
    ):
        with pytest.raises(ModelError, match="has no tokenizer") as caught:
            attempt()
        refused(caught)


def test_a_folder_without_an_image_processor_is_refused(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load(folder)
    refused(caught)
