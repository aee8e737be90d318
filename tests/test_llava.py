"""LLaVA: towers from the shards that hold them, and edits of the vision blocks that the language model reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import as_error, done, run
from llava_models import BLOCKS, LANGUAGE_SHARD, LAYERS, PATCHES, tiny_llava
from models import table
from tiny_checkpoints import digests
from torch import Tensor

from editkit.components.protocols import ModelFiles
from editkit.components.site import match_targets
from editkit.models.observe import observe
from editkit.testing import check_adapter
from editkit_llava.adapter import Llava

ADAPTER = Llava()
FAMILIES = ("llava", "llava_next")
DTYPES = ("float32", "float16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava") / "model")


@pytest.fixture
def files(folder: Path) -> ModelFiles:
    return ADAPTER.open(str(folder))


def loaded(folder: Path, **settings: Any) -> Any:
    given = {"device": "cpu", "dtype": "float32", "towers": ("vision",), **settings}
    return ADAPTER.load(ADAPTER.open(str(folder)), **given)


def by_transformers(source: str) -> Callable[..., Tensor]:
    """The mean of what the projector is shown, and of the language model's last hidden state, one item at a time."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    model, info = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    tokenizer, processor = AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)
    layer, strategy = model.config.vision_feature_layer, model.config.vision_feature_select_strategy

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        rows = []
        for item in items:
            with torch.no_grad():
                if tower == "text":
                    hidden = model.model.language_model(**tokenizer(item, return_tensors="pt")).last_hidden_state
                else:
                    inputs = processor(images=item, return_tensors="pt")
                    states = model.get_image_features(**inputs, output_hidden_states=True).hidden_states
                    hidden = torch.cat([states[at] for at in (layer if isinstance(layer, list) else [layer])], dim=-1)
                    hidden = hidden[:1, 1:] if strategy == "default" else hidden[:1]  # the first tile
            rows.append(hidden.mean(dim=1))
        return torch.cat(rows)

    return embed


# The contract


@pytest.mark.parametrize("family", FAMILIES)
def test_the_adapter_keeps_the_contract(tmp_path: Path, family: str) -> None:
    check_adapter("llava", tiny_llava(tmp_path / "model", family=family), library=by_transformers)


def test_it_keeps_it_in_half_precision(tmp_path: Path) -> None:
    check_adapter("llava", tiny_llava(tmp_path / "model", "float16"), library=by_transformers)


def test_it_keeps_it_on_several_feature_layers(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path / "model", vision_feature_layer=[-3, 1])
    check_adapter("llava", model, library=by_transformers)


def test_it_keeps_it_with_a_siglip_tower_that_is_read_whole(tmp_path: Path) -> None:
    settings = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
    model = tiny_llava(tmp_path / "model", vision="siglip_vision_model", **settings)
    check_adapter("llava", model, library=by_transformers)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_names_that_newer_releases_write_are_read_too(folder: Path, tmp_path: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    from editkit_llava.names import live_name

    copy = shutil.copytree(folder, tmp_path / "model")
    tensors = {key: tensor for file in sorted(copy.glob("*.safetensors")) for key, tensor in load_file(file).items()}
    for file in (*copy.glob("*.safetensors"), *copy.glob("*.index.json")):
        file.unlink()
    live = {live_name(key): tensor for key, tensor in tensors.items()}
    renamed = {name if name.startswith("lm_head") else f"{prefix}{name}": tensor for name, tensor in live.items()}
    save_file(renamed, copy / "model.safetensors", metadata={"format": "pt"})
    check_adapter("llava", copy)
    assert set(ADAPTER.tensors(ADAPTER.open(str(copy)), "text")) == set(
        ADAPTER.tensors(ADAPTER.open(str(folder)), "text")
    )


# Sites


def test_vision_blocks_that_are_read_are_sites_and_the_last_is_none(files: ModelFiles) -> None:
    names = [site.name for site in match_targets(["vision:mlp.out"], ADAPTER.sites(files))]
    assert names == [f"vision:mlp.out[{layer}]" for layer in range(BLOCKS - 1)]


@pytest.mark.parametrize(("layer", "blocks"), [(-1, 4), (-3, 2), (2, 2), ([1, -2], 3), ([-4], 1)])
def test_the_deepest_feature_layer_decides(folder: Path, layer: Any, blocks: int) -> None:
    files = ADAPTER.open(str(folder))
    sites = ADAPTER.sites(replace(files, config={**files.config, "vision_feature_layer": layer}))
    assert len(match_targets(["vision:mlp.out"], sites)) == blocks


def test_every_kind_of_site_has_its_key_as_published(files: ModelFiles) -> None:
    keys = {site.name: site.key for site in ADAPTER.sites(files)}
    assert keys["vision:attn.out[1]"] == "vision_tower.vision_model.encoder.layers.1.self_attn.out_proj.weight"
    assert keys["vision:projector.in"] == "multi_modal_projector.linear_1.weight"
    assert keys["vision:projector.out"] == "multi_modal_projector.linear_2.weight"
    assert keys["text:mlp.in[0]"] == "language_model.model.layers.0.mlp.up_proj.weight"
    assert keys["text:mlp.gate[0]"] == "language_model.model.layers.0.mlp.gate_proj.weight"
    assert len(keys) == 6 * (BLOCKS - 1) + 7 * LAYERS + 2


def test_a_tower_is_named_as_its_own_architecture_names_it(files: ModelFiles) -> None:
    from transformers import CLIPModel, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM
    from transformers.models.clip import CLIPConfig

    vision = {"num_hidden_layers": BLOCKS, "image_size": 24, "patch_size": 8}
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig(vision_config=CLIPVisionConfig(**vision).to_dict()))
        llama = LlamaForCausalLM(LlamaConfig(num_hidden_layers=LAYERS))
    named = ADAPTER.tensors(files, "vision")
    own = {name for name in named if not name.startswith("multi_modal_projector.")}
    assert own == {name for name in clip.state_dict() if name.startswith("vision_model.")}
    assert named["vision_model.post_layernorm.bias"] == "vision_tower.vision_model.post_layernorm.bias"
    assert set(ADAPTER.tensors(files, "text")) == set(llama.state_dict())


# What is read


def test_a_tower_is_loaded_without_the_shards_of_the_rest(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    vision = ADAPTER.open(str(copy))
    (copy / LANGUAGE_SHARD).unlink()
    model = ADAPTER.load(vision, device="cpu", dtype="float32", towers=("vision",))
    whole = loaded(folder, towers=("text", "vision"))
    for key in (site.key for site in ADAPTER.sites(vision) if site.tower == "vision"):
        assert torch.equal(model.parameter(key), whole.parameter(key))


def test_blocks_that_nothing_reads_take_no_memory(folder: Path) -> None:
    model = loaded(folder)
    names = [name for name, _ in model.module.named_parameters()]
    assert not any(".layers.3." in name or "post_layernorm" in name or "language_model" in name for name in names)
    assert any(".layers.2." in name for name in names)


def test_what_is_computed_from_the_configuration_stays_exact_in_half_precision(folder: Path) -> None:
    exact, half = (dict(loaded(folder, dtype=d, towers=("text", "vision")).module.named_buffers()) for d in DTYPES)
    assert exact and all(torch.equal(tensor, half[name]) for name, tensor in exact.items())


def test_the_first_tile_of_llava_next_is_the_image_at_the_towers_resolution(tmp_path: Path) -> None:
    from PIL import Image

    preprocess = loaded(tiny_llava(tmp_path / "next", family="llava_next")).image_preprocessor()
    gradient = Image.linear_gradient("L").convert("RGB")
    tiles = preprocess.processor(images=gradient, return_tensors="pt")["pixel_values"][0]
    (pixels,) = preprocess(gradient).values()
    assert len(tiles) > 1 and torch.equal(pixels, tiles[0])
    rows = pixels[0].mean(dim=1)  # black at the top, white at the bottom: a tile of a part would have less range
    assert rows[0] < -1.5 and rows[-1] > 1.5


def test_the_projector_is_shown_the_patches_without_the_first_token(folder: Path, files: ModelFiles) -> None:
    model = loaded(folder)
    seen: dict[str, int] = {}
    sites = match_targets(["vision:projector.in", "vision:mlp.out[0]"], ADAPTER.sites(files))
    with observe(model, sites, lambda site, x, y: seen.__setitem__(site.name, x.shape[1])), torch.no_grad():
        model.encode_images({"pixel_values": torch.randn(1, 3, 24, 24)})
    assert seen == {"vision:projector.in": PATCHES, "vision:mlp.out[0]": PATCHES + 1}


def test_padding_does_not_count_and_reaches_no_caption(folder: Path) -> None:
    model = loaded(folder, towers=("text",))
    ids = model.tokenize(["a dog", "two people ride a red bicycle"])
    inputs, mask = model.text_inputs(ids, "real")
    assert mask.sum(dim=1).tolist() == [len(row) for row in ids] == [3, 7]
    other = inputs["input_ids"].masked_fill(~mask, 42)
    with torch.no_grad():
        assert torch.equal(model.encode_texts(inputs), model.encode_texts({**inputs, "input_ids": other}))


# The command line


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return table(tmp_path / "data", 4, columns=("safe_image", "unsafe_image"))


def test_plan_takes_the_papers_targets_and_tau(folder: Path, pairs: Path) -> None:
    planned = done("plan", "--model", folder, "--data", pairs, "--json").json
    recipe = planned["recipe"]
    assert recipe["targets"] == ["vision:mlp.out"]
    assert recipe["vision"]["selector"] == {"name": "adaptive", "tau": 0.085}


@pytest.mark.parametrize(("name", "tau"), [("uwm-released", 0.085), ("uwm-paper", 0.02)])
def test_the_recipes_of_the_paper_edit_the_vision_tower_alone(folder: Path, pairs: Path, name: str, tau: float) -> None:
    planned = done("plan", "--model", folder, "--data", pairs, "--recipe", name, "--json").json
    recipe = planned["recipe"]
    assert recipe["targets"] == ["vision:mlp.out"]
    assert recipe["vision"]["selector"]["tau"] == tau
    assert {site["site"].partition(":")[0] for site in planned["sites"]} == {"vision"}


def test_a_flag_wins_over_what_a_recipe_says_of_the_family(folder: Path, pairs: Path) -> None:
    flags = ("--recipe", "uwm-released", "--tau", 0.5, "--target", "vision:attn.out")
    recipe = done("plan", "--model", folder, "--data", pairs, *flags, "--json").json["recipe"]
    assert (recipe["targets"], recipe["vision"]["selector"]["tau"]) == (["vision:attn.out"], 0.5)


def test_naming_the_block_that_nothing_reads_says_that_it_is_no_site(folder: Path, pairs: Path) -> None:
    error = as_error(run("plan", "--model", folder, "--data", pairs, "--target", "vision:mlp.out[3]"))
    assert "'vision:mlp.out[3]' matches no site of this model" in error
    assert "vision:mlp.out (3)" in error


def test_an_edit_of_the_vision_tower_never_looks_at_the_language_model(
    folder: Path, pairs: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    shard = copy / LANGUAGE_SHARD
    with shard.open("rb+") as stream:  # every weight of the language model a NaN, behind a sound header
        start = 8 + int.from_bytes(stream.read(8), "little")
        stream.seek(start)
        stream.write(b"\xff" * (shard.stat().st_size - start))
    done("edit", "--model", copy, "--data", pairs, "--device", "cpu", "-o", tmp_path / "patch")
    done("apply", tmp_path / "patch", copy, "-o", tmp_path / "edited")
    before, after = digests(copy), digests(tmp_path / "edited")
    changed = {name for name in before if before[name] != after[name]}
    assert LANGUAGE_SHARD not in changed and changed == {
        f"model-{number:05d}-of-00003.safetensors" for number in (2, 3)
    }


def test_an_edited_folder_loads_plainly_and_is_edited_where_the_patch_says(
    folder: Path, pairs: Path, tmp_path: Path
) -> None:
    from transformers import LlavaForConditionalGeneration

    done("edit", "--model", folder, "--data", pairs, "--device", "cpu", "-o", tmp_path / "patch")
    done("apply", tmp_path / "patch", folder, "-o", tmp_path / "edited")
    base = LlavaForConditionalGeneration.from_pretrained(folder).state_dict()
    edited = LlavaForConditionalGeneration.from_pretrained(tmp_path / "edited").state_dict()
    differing = {name for name in base if not torch.equal(base[name], edited[name])}
    assert differing == {f"model.vision_tower.encoder.layers.{layer}.mlp.fc2.weight" for layer in range(BLOCKS - 1)}
    for name in differing:
        moved = base[name] != edited[name]
        assert torch.equal(edited[name][moved], -base[name][moved])


@pytest.mark.parametrize("target", ["text:mlp.out", "text:attn.*[0]", "vision:projector.*"])
def test_other_sites_are_edited_on_request(folder: Path, tmp_path: Path, target: str) -> None:
    data = table(tmp_path / "data", 4)
    report = done(
        *("edit", "--model", folder, "--data", data, "--target", target, "--device", "cpu"), "-o", tmp_path / "patch"
    )
    assert target.split(":")[0] in report.flat
    recorded = json.loads((tmp_path / "patch" / "record.json").read_text())
    assert recorded["recipe"]["targets"] == [target]


def test_nothing_ranks_images_against_captions(folder: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "data", 4)
    error = as_error(run("eval", "safeground", "--model", folder, "--data", data, "--device", "cpu"))
    assert str(folder) in error and "feeds a language model" in error


def test_the_next_commands_are_ones_that_work_on_it(folder: Path, pairs: Path, tmp_path: Path) -> None:
    edited = done("edit", "--model", folder, "--data", pairs, "--device", "cpu", "-o", tmp_path / "patch")
    following = edited.out.splitlines()[-1]
    assert following == f"Next: editkit apply {tmp_path / 'patch'} {folder} -o {tmp_path / 'patch'}-model"
    applied = done(*following.split()[2:])
    assert "eval" not in applied.out and "Next: editkit revert" in applied.out
