"""Models that are broken or of no known family: `plan` and `edit` exit 1 with two lines before any work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import as_error, cache_at, done, run
from models import table, tiny_clip
from safetensors.torch import load_file, save_file
from tiny_checkpoints import listing

from editkit.components.site import TOWERS
from editkit.errors import ModelError
from editkit.files.checkpoint import Checkpoint, closest_key
from editkit.testing.adapter_case import embed, noise
from editkit_clip.transformers_format import TransformersClip

Q = "self_attn.q_proj.weight"
INDEX = "model.safetensors.index.json"
VISION_ONLY = """
    from editkit.plugin import AdapterSpec, hookimpl
    from editkit_clip.transformers_format import TransformersClip

    EDITKIT_API = 1

    class VisionOnly(TransformersClip):
        def open(self, source):
            return super().open(source.removeprefix("vision_only:"))

        def sites(self, files):
            return [site for site in super().sites(files) if site.tower == "vision"]

        def default_targets(self, files):
            return ("vision:mlp.out",)

    @hookimpl
    def editkit_adapters():
        target = "vision_only_plugin:VisionOnly"
        return [AdapterSpec(name="vision_only", summary="test", target=target, prefixes=("vision_only",))]
"""


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let `change` alter a JSON object in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Write the weights of a folder anew, as `change` returns them."""
    file = folder / "model.safetensors"
    save_file({key: tensor.clone() for key, tensor in change(load_file(file)).items()}, file, {"format": "pt"})


def shard_of(folder: Path, key: str) -> str:
    name: str = json.loads((folder / INDEX).read_text())["weight_map"][key]
    return name


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Every model that the commands below name in braces, and a table of data."""
    root = tmp_path_factory.mktemp("models")
    made = {"root": root, "data": table(root / "data"), "one": tiny_clip(root / "one")}
    made["shards"] = tiny_clip(root / "shards", sharded=True)

    def like(original: str, name: str) -> Path:
        made[name] = shutil.copytree(made[original], root / name)
        return made[name]

    def config(name: str, content: str) -> None:
        (like("one", name) / "config.json").write_text(content)

    def depth(content: dict[str, Any]) -> None:
        content["text_config"]["num_hidden_layers"] = 12

    config("family", '{"model_type": "clipp"}')
    config("untyped", '{"architectures": ["CLIPModel"]}')
    config("unreadable", '{"model_type": "clip"')
    config("listed", '["clip"]')
    (like("one", "unconfigured") / "config.json").unlink()
    (like("unconfigured", "pipeline") / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (like("unconfigured", "lora") / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    edit_json(like("one", "deeper") / "config.json", depth)
    rewrite(
        like("one", "prefixed"),
        lambda held: {f"clip.{key}": tensor for key, tensor in held.items()} | {"head": held["logit_scale"].clone()},
    )
    rewrite(like("one", "foreign"), lambda held: {"encoder.dense.kernel": held["logit_scale"]})
    rewrite(like("one", "normless"), lambda held: held_without(held, "text_model.final_layer_norm.bias"))

    key = f"text_model.encoder.layers.1.{Q}"
    (like("shards", "missing_shard") / shard_of(made["shards"], key)).unlink()
    cut = like("shards", "cut_shard") / shard_of(made["shards"], key)
    cut.write_bytes(cut.read_bytes()[:-100])
    other = next(name for name in sorted(file.name for file in made["shards"].glob("*.safetensors"))
                 if name != shard_of(made["shards"], key))  # fmt: skip
    edit_json(like("shards", "lying") / INDEX, lambda content: content["weight_map"].update({key: other}))
    edit_json(like("shards", "inventing") / INDEX, lambda content: content["weight_map"].update({"no.such": other}))
    return made


def held_without(held: dict[str, Any], key: str) -> dict[str, Any]:
    return {other: tensor for other, tensor in held.items() if other != key}


CASES: list[tuple[str, str, tuple[str, ...]]] = [
    ("a misspelt family", "{family}", ("model_type 'clipp'. Did you mean 'clip'?", "Installed adapters:", "open_clip")),
    ("a config without a family", "{untyped}", ("its config.json says no model_type", "Installed adapters:")),
    ("an unreadable config", "{unreadable}", ("config.json cannot be read", "download it again")),
    ("a config that is a list", "{listed}", ("config.json holds no JSON object",)),
    ("no config", "{unconfigured}", ("it has no config.json", "Installed adapters:")),
    ("a pipeline", "{pipeline}", ("pipeline of diffusers", "Give the folder of one of them")),
    ("an adapter of PEFT", "{lora}", ("PEFT trained for org/base", "merge_and_unload")),
    ("a missing shard", "{missing_shard}", (INDEX, "which is missing", "Download or copy that shard")),
    ("a truncated shard", "{cut_shard}", ("is not a whole safetensors file", "Download or copy it again")),
    ("an index with a wrong place", "{lying}", (f"layers.1.{Q}' is in", "but it is not", "copy index and shards")),
    ("an index with a tensor that is nowhere", "{inventing}", ("says that 'no.such' is in", "but it is not")),
    ("more layers promised than there are", "{deeper}",
     (f"has no tensor text_model.encoder.layers.2.{Q}", f"the closest it has is text_model.encoder.layers.1.{Q}")),
    ("most keys behind a prefix", "{prefixed}",
     (f"no tensor text_model.encoder.layers.0.{Q}", f"the closest it has is clip.text_model.encoder.layers.0.{Q}")),
    ("keys of something else", "{foreign}", (f"no tensor text_model.encoder.layers.0.{Q}", "nor any like it")),
    ("an unknown prefix", "tim_m:vit_base", ("models called tim_m:NAME", "Install the plugin")),
]  # fmt: skip


@pytest.mark.parametrize("command", ["plan", "edit"])
@pytest.mark.parametrize(("source", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_that_cannot_be_used_is_two_lines_and_leaves_nothing_behind(
    command: str,
    source: str,
    expected: tuple[str, ...],
    places: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = listing(places["root"])
    message = as_error(run(command, "--model", source.format(**places), "--data", places["data"], "--workers", 0))
    for part in expected:
        assert part in message
    assert listing(tmp_path) == [] and listing(places["root"]) == before


@pytest.mark.parametrize("command", ["plan", "edit"])
def test_a_text_target_on_a_model_without_text_says_what_it_has(
    command: str, places: Mapping[str, Path], plugin_file: Callable[[str, str], Path]
) -> None:
    plugin = plugin_file("vision_only_plugin", VISION_ONLY)
    flags = ("--model", f"vision_only:{places['one']}", "--data", places["data"], "--target", "text:attn.out")
    message = as_error(run("--plugin", plugin, command, *flags))
    assert "Target 'text:attn.out' matches no site of this model. Did you mean 'vision:attn.out'?" in message
    assert "This model has: vision:attn.q (2), " in message and "text" not in message.partition("This model has")[2]


def test_a_tensor_that_only_loading_needs_is_named_when_its_tower_is_loaded(
    places: Mapping[str, Path], tmp_path: Path
) -> None:
    flags = ("--model", places["normless"], "--workers", 0, "--data", places["data"], "-o", tmp_path / "patch")
    message = as_error(run("edit", *flags, "--target", "text:attn.out"))
    assert "lacks 1 of its model's tensors" in message and "text_model.final_layer_norm.bias" in message
    assert listing(tmp_path) == []


def test_a_tower_that_nobody_asks_for_may_be_broken(places: Mapping[str, Path], tmp_path: Path) -> None:
    flags = ("--model", places["normless"], "--workers", 0, "--data", places["data"], "-o", tmp_path / "patch")
    done("edit", *flags, "--target", "vision:mlp.out")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_tower_alone_is_bit_for_bit_the_one_in_the_whole_model(places: Mapping[str, Path], tower: Any) -> None:
    adapter = TransformersClip()
    files = adapter.open(str(places["shards"]))
    items: list[Any] = ["a photo of a cat", "two dogs"] if tower == "text" else noise()
    loaded = [adapter.load(files, device="cpu", dtype="float32", towers=towers) for towers in ([tower], TOWERS)]
    assert torch.equal(*(embed(model, tower, items) for model in loaded))
    absent = "vision_model" if tower == "text" else "text_model"
    assert not any(key.startswith(absent) for key in loaded[0].module.state_dict())


# a tensor that no index lists is part of the model all the same: the libraries load whatever the shards hold


def test_a_tensor_that_the_index_does_not_list_is_loaded_and_edited(places: Mapping[str, Path], tmp_path: Path) -> None:
    from transformers import CLIPModel

    key = "text_model.encoder.layers.1.self_attn.out_proj.weight"
    unlisted = shutil.copytree(places["shards"], tmp_path / "unlisted")
    edit_json(unlisted / INDEX, lambda content: content["weight_map"].pop(key))
    assert torch.equal(CLIPModel.from_pretrained(unlisted).state_dict()[key],
                       CLIPModel.from_pretrained(places["shards"]).state_dict()[key])  # fmt: skip
    assert Checkpoint.open(unlisted).identity() == Checkpoint.open(places["shards"]).identity()
    flags = ("--scorer", "magnitude", "--tau", 0.9, "--target", "text:attn.out[1]", "--workers", 0)
    with cache_at(tmp_path / "cache"):
        done("edit", "--model", unlisted, *flags, "-o", tmp_path / "patch", "--save", tmp_path / "edited")
    before, after = (CLIPModel.from_pretrained(folder).state_dict()[key] for folder in (unlisted, tmp_path / "edited"))
    changed = before != after
    assert changed.any() and torch.equal(after[changed], -before[changed])


# which key is the closest


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("layers.11.fc.weight", "layers.10.fc.weight"),
        ("layers.2.fc.weight", "model.layers.2.fc.weight"),
        ("vision.head.weight", "head.weight"),
        ("layers.3.fc.bias", "layers.3.fc.weight"),
        ("zzz", ""),
    ],
)
def test_the_closest_key_has_another_prefix_or_layer_or_is_spelt_alike(key: str, expected: str) -> None:
    held = [f"layers.{layer}.fc.weight" for layer in (0, 1, 3, 9, 10)]
    assert closest_key(key, ["model.layers.2.fc.weight", "head.weight", *held]) == expected


def test_every_error_names_the_model_as_it_was_asked_for(places: Mapping[str, Path]) -> None:
    adapter = TransformersClip()
    with pytest.raises(ModelError) as caught:
        adapter.sites(adapter.open(str(places["deeper"])))
    assert caught.value.problem.startswith(str(places["deeper"]))
