"""The Python API does what the command line does."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import done, sha
from models import table, tiny_clip
from tiny_checkpoints import digests, listing

import editkit


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("api") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("api"), 5)


def test_edit_writes_the_patch_that_the_command_line_writes(model: Path, pairs: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--data", pairs, "--target", "vision:mlp.out", "--tau", 0.1, "--alpha", 0.5)
    more = (
        "--set",
        "scorer.aggregation=means",
        "--workers",
        0,
        "-o",
        tmp_path / "cli",
        "--save",
        tmp_path / "cli-model",
    )
    told = done("edit", "--scorer", "uwm", *flags, *more, "--json").json
    edited = editkit.edit(
        "uwm",
        model=model,
        data=str(pairs),
        targets=["vision:mlp.out"],
        tau=0.1,
        alpha=0.5,
        settings={"scorer.aggregation": "means", "compute.workers": 0},
        output=tmp_path / "api",
        save=tmp_path / "api-model",
    )
    assert edited.folder == tmp_path / "api" and listing(edited.folder) == listing(tmp_path / "cli")
    assert sha(tmp_path / "api" / "patch.safetensors") == sha(tmp_path / "cli" / "patch.safetensors")
    assert digests(tmp_path / "api-model") == digests(tmp_path / "cli-model")
    assert edited.saved is not None and edited.saved.output == tmp_path / "api-model"
    for part in ("recipe", "recipe_digest", "sites", "base", "model", "towers", "dropped", "degenerate"):
        assert edited.patch.record[part] == told["record"][part]
    assert edited.patch.record["data"]["fingerprint"] == told["record"]["data"]["fingerprint"]


def test_a_loaded_patch_applies_and_reverts_like_the_command_line(model: Path, pairs: Path, tmp_path: Path) -> None:
    done("edit", "--model", model, "--data", pairs, "--workers", 0, "-o", tmp_path / "p")
    done("apply", tmp_path / "p", model, "-o", tmp_path / "by-command")
    patch = editkit.Patch.load(tmp_path / "p")
    patch.apply(model, tmp_path / "by-function")
    assert digests(tmp_path / "by-function") == digests(tmp_path / "by-command")
    patch.revert(tmp_path / "by-function", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


@pytest.mark.parametrize("evaluation", ["safeground", "retrieval"])
def test_evaluate_returns_the_object_that_json_prints(
    evaluation: str, model: Path, pairs: Path, tmp_path: Path
) -> None:
    flags = ("--model", model, "--data", pairs, "--workers", 0)
    done("edit", *flags, "--tau", 0.2, "-o", tmp_path / "p")
    printed = done("eval", evaluation, *flags, "--patch", tmp_path / "p", "--json").json
    report = editkit.evaluate(
        evaluation, model=model, data=str(pairs), patches=[tmp_path / "p"], settings={"compute.workers": 0}
    )
    assert report == printed


def test_a_recipe_file_and_nested_settings_are_the_flags(model: Path, pairs: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {model}\ndata: {{name: pairs, path: {pairs}}}\nselector: {{tau: 0.3}}\n")
    settings = {"manipulator": "zero", "compute": {"workers": 0}}
    edited = editkit.edit(recipe=recipe, settings=settings, output=tmp_path / "api")
    flags = ("--recipe", recipe, "--manipulator", "zero", "--workers", 0)
    done("edit", *flags, "-o", tmp_path / "cli")
    assert sha(edited.folder / "patch.safetensors") == sha(tmp_path / "cli" / "patch.safetensors")


def test_errors_are_editkit_errors_with_a_problem_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(editkit.EditkitError, match="Did you mean 'uwm'") as caught:
        editkit.edit("uwn", output=tmp_path / "p")
    assert caught.value.problem and caught.value.remedy
    assert listing(tmp_path) == []


def test_the_package_offers_what_its_page_says() -> None:
    assert set(editkit.__all__) <= {*dir(editkit), "Edited", "Patch", "edit", "evaluate"}
    for name in editkit.__all__:
        assert getattr(editkit, name) is not None
