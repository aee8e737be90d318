"""The targets `all`, `text:all` and `vision:all`: every floating tensor of a checkpoint or of a tower."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from blends import blend, same_bits, tensors
from command_line import as_error, done, run
from models import DEMO, tiny_clip
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_checkpoints import model_folder

from editkit.files.checkpoint import Checkpoint
from editkit.models.whole import shapes_of, whole_tensors


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("whole") / "other", seed=1)


# which tensors


def test_all_names_every_floating_tensor_once_and_nothing_else(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "m"))  # it has a scalar, and a buffer of integers
    found = whole_tensors(checkpoint, {"vision": ["b.weight"]}, rest="text")
    assert sorted(site.key for site in found) == sorted(set(checkpoint.tensors) - {"position_ids"})
    shapes = {site.key: site.shape for site in found}
    assert shapes == {"a.weight": (12, 10), "a.bias": (1, 12), "b.weight": (7, 12), "scale": (1, 1)}
    assert {site.key for site in found if site.tower == "vision"} == {"b.weight"}
    assert shapes_of(checkpoint) == {"a.weight": (12, 10), "a.bias": (12,), "b.weight": (7, 12), "scale": ()}


def test_a_tensor_belongs_to_the_tower_whose_embeddings_are_computed_from_it(model: Path) -> None:
    plan = done("plan", "--json", "--model", model, "--target", "all", "--alpha", 0.5).json
    held = tensors(model)
    assert {site["key"] for site in plan["sites"]} == held.keys()
    for site in plan["sites"]:
        assert prod(site["shape"]) == held[site["key"]].numel()
    groups = {group["sites"]: (group["layers"], group["weights"]) for group in plan["groups"]}
    vision = [tensor.numel() for key, tensor in held.items() if key.startswith(("vision", "visual"))]
    text = [tensor.numel() for key, tensor in held.items() if not key.startswith(("vision", "visual"))]
    assert any(key == "logit_scale" for key in held)  # of neither tower: it goes along with the first
    assert groups == {"text tensors": (len(text), sum(text)), "vision tensors": (len(vision), sum(vision))}


def test_a_convolution_is_a_matrix_by_its_first_axis(model: Path) -> None:
    plan = done("plan", "--json", "--model", model, "--target", "all", "--alpha", 0.5).json
    [patches] = [site for site in plan["sites"] if site["key"].endswith("patch_embedding.weight")]
    assert tensors(model)[patches["key"]].dim() == 4 and patches["shape"][0] == 48


@pytest.mark.parametrize("alpha", [0.5, -1.0])
def test_scaling_all_scales_every_tensor(model: Path, tmp_path: Path, alpha: float) -> None:
    flags = ("--model", model, "--target", "all", "--alpha", alpha)
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "scaled")
    assert same_bits(tensors(tmp_path / "scaled"), {key: tensor * alpha for key, tensor in tensors(model).items()})


# one tower


def test_a_tower_without_the_rest_is_named_alone() -> None:
    checkpoint = Checkpoint.open(DEMO / "model")
    found = whole_tensors(checkpoint, {"text": ["logit_scale", "text_projection.weight", "no such tensor"]})
    assert [site.key for site in found] == ["logit_scale", "text_projection.weight"]


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_whole_tower_is_every_tensor_that_its_embeddings_are_computed_from(model: Path, tower: str) -> None:
    plan = done("plan", "--json", "--model", model, "--target", f"{tower}:all", "--alpha", 0.5).json
    own = (f"{tower}_model.", {"text": "text_projection.", "vision": "visual_projection."}[tower])
    assert {site["key"] for site in plan["sites"]} == {key for key in tensors(model) if key.startswith(own)}
    assert plan["not_edited"] == [{"text": "vision", "vision": "text"}[tower]]
    assert plan["data"] is None
    for component in ("scorer", "selector"):
        assert plan["origins"][f"{component}.name"] == f"implied by target {tower}:all"


def test_both_towers_are_all_but_what_belongs_to_neither(model: Path) -> None:
    flags = ("plan", "--json", "--model", model, "--alpha", 0.5, "--target", "vision:all", "--target", "text:all")
    assert {site["key"] for site in done(*flags).json["sites"]} == tensors(model).keys() - {"logit_scale"}


def test_scaling_a_whole_tower_leaves_the_other_as_it_is(model: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--target", "vision:all", "--alpha", 0.5)
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "scaled")
    expected = {key: tensor * (0.5 if key.startswith("vis") else 1) for key, tensor in tensors(model).items()}
    assert same_bits(tensors(tmp_path / "scaled"), expected)


def test_each_tower_may_be_treated_in_its_own_way(model: Path, other: Path, tmp_path: Path) -> None:
    both = ("--target", "text:all", "--target", "vision:all")
    own = ("--set", "vision.manipulator=blend", "--set", f"vision.manipulator.model={other}")
    flags = ("--model", model, *both, "--alpha", 0.5, *own)
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "s")
    scale, theirs = {"logit_scale": tensors(model)["logit_scale"]}, tensors(other)
    halved = {key: tensor * 0.5 for key, tensor in tensors(model).items() if key.startswith("text")}
    lent = {key: tensor for key, tensor in theirs.items() if key.startswith("vis")}
    assert same_bits(tensors(tmp_path / "s"), scale | halved | lent)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("all", "vision:all"), "another target beside it would do nothing"),
        (("vision:all", "all"), "another target beside it would do nothing"),
        (("vision:all", "text:attn.out"), "'vision:all' takes whole tensors and 'text:attn.out' linear maps"),
        (("vision:all", "vision:mlp.out"), "'vision:all' takes whole tensors and 'vision:mlp.out' linear maps"),
        (("vision:all[3]",), "Target 'vision:all[3]' matches no site of this model"),
        (("*:all",), "Target '*:all' matches no site of this model"),
    ],
)
def test_targets_that_do_not_go_together_are_refused(targets: tuple[str, ...], said: str, model: Path) -> None:
    flags = [part for target in targets for part in ("--target", target)]
    assert said in as_error(run("plan", "--model", model, "--alpha", 0.5, *flags))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--scorer", "uwm"), "so scorer 'uwm' would do nothing"),
        (("--tau", 0.1), "selector.tau would do nothing in the text tower: target vision:all implies selector 'all'"),
        (("--scorer", "uwm", "--selector", "topk"), "every tensor of the vision tower, most of which are no linear"),
        (("--manipulator", "redirect"), "every tensor of the vision tower, most of which are no linear maps: redirect"),
    ],
)
def test_what_looks_at_data_does_not_serve_a_whole_tower(flags: tuple[object, ...], said: str, model: Path) -> None:
    assert said in as_error(run("plan", "--model", model, "--target", "vision:all", "--limit", 4, *flags))


def test_quantised_tensors_are_no_part_of_all(model: Path, other: Path, tmp_path: Path) -> None:
    base, theirs = (tiny_clip(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1)))
    for number, folder in enumerate((base, theirs)):
        held = tensors(folder) | {"text_model.embeddings.position_ids": torch.arange(5) + number}
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    done("edit", *blend(base, theirs), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("text_model.embeddings.position_ids"), torch.arange(5))
        assert torch.equal(file.get_tensor("logit_scale"), tensors(theirs)["logit_scale"])
