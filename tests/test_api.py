"""The Python API does what the command line does."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import done, run, sha
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


@pytest.fixture(scope="module")
def patches(model: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two edits of the model, the second of which chose more weights."""
    root = tmp_path_factory.mktemp("patches")
    settings = {"compute.workers": 0}
    return [
        editkit.edit("uwm", model=model, data=str(pairs), tau=tau, settings=settings, output=root / str(tau)).folder
        for tau in (0.1, 0.3)
    ]


def test_plan_says_what_edit_with_the_same_arguments_does(model: Path, pairs: Path) -> None:
    flags = ("--model", model, "--data", pairs, "--target", "text:attn.out", "--tau", 0.1)
    printed = done("plan", *flags, "--json").json
    plan = editkit.plan(model=model, data=str(pairs), targets=["text:attn.out"], tau=0.1)
    assert plan.recipe.describe() == printed["recipe"] and plan.recipe.digest == printed["recipe_digest"]
    assert [site.name for site in plan.sites] == [site["site"] for site in printed["sites"]]


def test_patches_are_applied_and_reverted_as_by_the_command_line(
    model: Path, patches: list[Path], tmp_path: Path
) -> None:
    told = done("apply", patches[0], model, "-o", tmp_path / "by-command", "--json").json
    applied = editkit.apply(patches[0], model, tmp_path / "by-function")
    assert (applied.weights, applied.tensors) == (told["weights"], told["tensors"])
    editkit.Patch.load(patches[0]).apply(model, tmp_path / "by-method")
    edited = digests(tmp_path / "by-command")
    assert digests(tmp_path / "by-function") == digests(tmp_path / "by-method") == edited != digests(model)
    editkit.revert(editkit.Patch.load(patches[0]), tmp_path / "by-function", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


def test_apply_knows_models_that_only_plugins_know(tmp_path: Path) -> None:
    edited = editkit.edit("magnitude", settings={"compute.workers": 0}, output=tmp_path / "p", save=tmp_path / "s")
    editkit.apply(edited.folder, "demo", tmp_path / "a")
    assert digests(tmp_path / "a") == digests(tmp_path / "s")
    assert editkit.diff("demo", tmp_path / "a").differing


def test_diff_holds_what_the_command_line_prints(model: Path, patches: list[Path], tmp_path: Path) -> None:
    editkit.apply(patches[0], model, tmp_path / "edited")
    printed = run("diff", model, tmp_path / "edited", "--json").json
    found = editkit.diff(model, tmp_path / "edited")
    assert not found.equal and len(found.tensors) == printed["tensors"]
    assert [(entry.key, entry.count) for entry in found.differing] == [
        (entry["key"], entry["count"]) for entry in printed["differing"]
    ]
    assert editkit.diff(model, model).equal


def test_show_holds_what_the_command_line_prints(patches: list[Path]) -> None:
    printed = done("show", *patches, "--json").json
    shown = editkit.show(*patches)
    assert [patch.weights for patch in shown.patches] == [patch["weights"] for patch in printed["patches"]]
    assert [pair.everywhere.jaccard for pair in shown.overlap] == [
        pair["all"]["jaccard"] for pair in printed["overlap"]
    ]
    (alone,) = editkit.show(patches[0]).patches
    assert (alone.folder, alone.record) == (patches[0], editkit.Patch.load(patches[0]).record)
    assert editkit.show(patches[0]).overlap == ()


def test_results_and_export_hold_what_the_command_line_prints(
    model: Path, pairs: Path, patches: list[Path], tmp_path: Path
) -> None:
    place = tmp_path / "eval-one.json"
    settings = {"compute.workers": 0}
    report = editkit.evaluate(
        model=model, data=str(pairs), patches=patches[:1], controls=False, settings=settings, output=place
    )
    found = editkit.results(tmp_path, evaluation="safeground")
    assert [stored.path for stored in found.runs] == [place] and found.total == 1
    assert found.runs[0].report["models"] == report["models"]
    assert editkit.results(tmp_path, evaluation="retrieval").runs == ()
    table_ = done("results", "export", place, "--format", "markdown").out
    assert editkit.export([place], "markdown").text == table_
    assert editkit.export([place], "markdown", output=tmp_path / "t.md").output == tmp_path / "t.md"
    assert (tmp_path / "t.md").read_text() == table_


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
    assert set(editkit.__all__) <= set(dir(editkit))
    for name in editkit.__all__:
        assert getattr(editkit, name) is not None


def test_no_function_of_the_package_has_the_name_of_one_of_its_modules() -> None:
    modules = {path.stem for path in Path(editkit.__file__).parent.iterdir()}
    assert not modules & set(editkit.__all__)  # importing such a module would put it in the function's place
