"""Which adapter a model leads to: by its name, its `model_type` or its marker files; and what is said if to none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pluggy
import pytest
from plugin_samples import Install
from tiny_checkpoints import random_bits, save

from editkit.components.host import Component, Host
from editkit.components.load import default_host, load_host
from editkit.components.specs import AdapterSpec
from editkit.errors import ModelError
from editkit.models.find import find_adapter, weights_of


def spec(name: str, **fields: Any) -> AdapterSpec:
    return AdapterSpec(name=name, summary="test", target="nowhere:Nothing", **fields)


def host(*specs: AdapterSpec) -> Host:
    """The specs, registered in this order."""
    return Host(pluggy.PluginManager("editkit"), {("adapter", one.name): Component(one, "tests") for one in specs})


CLIP = spec("clip", model_types=("clip",))
SIGLIP = spec("siglip", model_types=("siglip", "siglip2"))
OPEN = spec("open_clip", prefixes=("open_clip",), files=("open_clip_config.json",))
COCA = spec(
    "coca",
    patterns=("open_clip:coca_*",),
    files=("open_clip_config.json",),
    keys=("model_cfg.multimodal_cfg",),
)
TIMM = spec("timm", prefixes=("timm",), files=("config.json",), keys=("architecture", "pretrained_cfg"))
ALL = host(OPEN, CLIP, SIGLIP, COCA, TIMM)


def folder(root: Path, **files: Any) -> str:
    """A folder with these JSON files; a string is written as it is."""
    root.mkdir()
    for name, content in files.items():
        (root / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(root)


def refused(source: str, among: Host = ALL) -> ModelError:
    with pytest.raises(ModelError) as caught:
        find_adapter(source, among)
    assert str(caught.value).count("\n") == 1
    return caught.value


# by name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open_clip:ViT-B-32/openai", "open_clip"),
        ("open_clip:coca_ViT-L-14/mscoco", "coca"),
        ("timm:vit_base_patch16_224", "timm"),
        ("timm", "timm"),
    ],
)
def test_a_pattern_comes_before_a_prefix(source: str, expected: str) -> None:
    assert find_adapter(source, ALL).name == expected
    assert find_adapter(source, host(*reversed([OPEN, CLIP, SIGLIP, COCA, TIMM]))).name == expected


def test_a_prefix_ends_at_its_colon() -> None:
    assert "timmy:NAME. Did you mean 'timm'?" in refused("timmy:vit").problem


def test_an_unknown_prefix_is_not_taken_for_a_folder() -> None:
    error = refused("opn_clip:ViT-B-32/openai")
    assert error.problem == "No installed adapter knows models called opn_clip:NAME. Did you mean 'open_clip'?"
    assert "open_clip, timm" in error.remedy


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "run:3", config={"model_type": "clip"})
    assert find_adapter("run:3", ALL).name == "clip"


# by what the folder says


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_model_type_decides(tmp_path: Path, family: str) -> None:
    assert find_adapter(folder(tmp_path / "m", config={"model_type": family}), ALL).name == "siglip"


def test_the_model_type_comes_before_marker_files(tmp_path: Path) -> None:
    both = folder(tmp_path / "m", config={"model_type": "clip"}, open_clip_config={"model_cfg": {}})
    assert find_adapter(both, ALL).name == "clip"


def test_the_marker_with_more_keys_comes_first(tmp_path: Path) -> None:
    coca = folder(tmp_path / "coca", open_clip_config={"model_cfg": {"multimodal_cfg": {}}})
    clip = folder(tmp_path / "clip", open_clip_config={"model_cfg": {}})
    assert (find_adapter(coca, ALL).name, find_adapter(clip, ALL).name) == ("coca", "open_clip")


def test_a_marker_needs_every_one_of_its_keys(tmp_path: Path) -> None:
    timm = folder(tmp_path / "timm", config={"architecture": "vit_base", "pretrained_cfg": {}})
    half = folder(tmp_path / "half", config={"architecture": "vit_base"})
    assert find_adapter(timm, ALL).name == "timm"
    assert "says no model_type" in refused(half).problem


@pytest.mark.parametrize("fields", [{"model_types": ("twin",)}, {"files": ("twin.json",)}, {"prefixes": ("twin",)}])
def test_of_two_that_claim_a_family_the_first_registered_is_taken(tmp_path: Path, fields: dict[str, Any]) -> None:
    named = "prefixes" in fields
    files = {"config": {"model_type": "twin"}} if "model_types" in fields else {"twin": {}}
    source = "twin:x" if named else folder(tmp_path / "m", **files)
    one, other = spec("one", **fields), spec("other", **fields)
    assert find_adapter(source, host(one, other)).name == "one"
    assert find_adapter(source, host(other, one)).name == "other"


def test_the_order_of_installation_changes_nothing(install: Install, tmp_path: Path) -> None:
    code = """
        from editkit.plugin import AdapterSpec, hookimpl

        EDITKIT_API = 1

        @hookimpl
        def editkit_adapters():
            target = "editkit_clip.transformers_format:TransformersClip"
            return [AdapterSpec(name="{name}", summary="test", target=target, model_types=("twin",))]
    """
    install("editkit-z", "twin_b", code.format(name="installed-first"))
    install("editkit-a", "twin_a", code.format(name="first-by-name"))
    source = folder(tmp_path / "m", config={"model_type": "twin"})
    assert find_adapter(source, load_host()).name == "first-by-name"


# what is said of a folder that no adapter knows


def test_an_unknown_family_lists_the_adapters_and_the_closest_family(tmp_path: Path) -> None:
    error = refused(folder(tmp_path / "m", config={"model_type": "siglip3"}))
    assert "its config.json says model_type 'siglip3'. Did you mean 'siglip'?" in error.problem
    assert "Installed adapters: clip, coca, open_clip, siglip, timm (families: clip, siglip, siglip2)" in error.remedy


def test_a_family_like_no_other_is_not_guessed_at(tmp_path: Path) -> None:
    assert "Did you mean" not in refused(folder(tmp_path / "m", config={"model_type": "bert"})).problem


@pytest.mark.parametrize("content", [{}, {"model_type": None}, {"model_type": 3}, {"model_type": ""}])
def test_a_config_without_a_family_is_told_from_no_config(tmp_path: Path, content: dict[str, Any]) -> None:
    assert "its config.json says no model_type" in refused(folder(tmp_path / "m", config=content)).problem
    assert "it has no config.json" in refused(folder(tmp_path / "n")).problem


@pytest.mark.parametrize(("content", "said"), [('{"model_type": ', "cannot be read"), ("[]", "holds no JSON object")])
def test_a_config_that_cannot_be_read_is_said_to(tmp_path: Path, content: str, said: str) -> None:
    assert said in refused(folder(tmp_path / "m", config=content)).problem


def test_a_pipeline_of_diffusers_is_recognised(tmp_path: Path) -> None:
    error = refused(folder(tmp_path / "sd", model_index={"_class_name": "StableDiffusionPipeline"}))
    assert "pipeline of diffusers" in error.problem and "clip, siglip" in error.remedy


def test_an_adapter_of_peft_is_recognised_with_its_base(tmp_path: Path) -> None:
    error = refused(folder(tmp_path / "lora", adapter_config={"base_model_name_or_path": "openai/clip-x"}))
    assert "adapter that PEFT trained for openai/clip-x" in error.problem and "merge_and_unload" in error.remedy
    assert "for another model" in refused(folder(tmp_path / "old", adapter_config={})).problem


def test_without_any_adapter_the_error_says_so(tmp_path: Path) -> None:
    error = refused(folder(tmp_path / "m", config={"model_type": "clip"}), host())
    assert "Installed adapters: none (families: none)" in error.remedy


# where the weights are, for commands without torch


@pytest.fixture
def timm_installed(install: Install) -> None:
    install(
        "editkit-timmlike",
        "timmlike_plugin",
        """
        from editkit.plugin import AdapterSpec, hookimpl

        EDITKIT_API = 1

        @hookimpl
        def editkit_adapters():
            return [AdapterSpec(name="timmlike", summary="test", target="no:No", prefixes=("timmlike",))]
        """,
    )
    default_host.cache_clear()


@pytest.mark.usefixtures("timm_installed")
def test_without_an_adapters_libraries_the_path_behind_the_name_holds_the_weights(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.addfinalizer(default_host.cache_clear)
    weights = save(tmp_path / "a@b.safetensors", {"x": ("F32", random_bits(0, "F32", 2))})
    found = weights_of(f"timmlike:vit_base.augreg@{weights}", default_host())
    assert found.checkpoint.tensors.keys() == {"x"} and found.save_beside is None
    assert weights_of(weights, default_host()).checkpoint.tensors.keys() == {"x"}
