"""A method in one short file works in every command, with no change to editkit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import split
from textwrap import dedent
from typing import Any

import naive
import pytest
import torch
from command_line import Ran, as_error, cache_at, done, run, sha
from method_files import GRADIENT_SCORER, LONGEST, MANIPULATOR, METHODS, SCORER, SELECTOR, WHOLE, Method
from models import table, tiny_clip
from safetensors.torch import load_file
from tiny_checkpoints import digests

import editkit
from editkit.cli.render_edit import remarks
from editkit.components.load import load_host
from editkit.testing import score

SITES = ("text:attn.out[0]", "text:attn.out[1]", "vision:mlp.out[0]", "vision:mlp.out[1]")
FEW = ("--limit", 8, "--workers", 0, "--knowledge", "none")


@dataclass(frozen=True)
class Used:
    """A method whose file was given to `edit`, and what came of it."""

    method: Method
    file: Path
    root: Path
    ran: Ran

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def patch(self) -> Path:
        return self.root / "patch"

    @property
    def data(self) -> tuple[object, ...]:
        return ("--model", self.model, "--data", self.root / "pairs" / "t.jsonl", "--workers", 0)

    def flagged(self, command: str, *more: object) -> Ran:
        """Run a command that knows the method's file, with the method given by flags."""
        return done("--plugin", self.file, command, *self.method.flags, *self.data, *more)

    @property
    def record(self) -> Any:
        """The patch's record, as `show` gives it."""
        return done("show", self.patch, "--json").json["patches"][0]

    def described(self) -> Any:
        """The components of each tower, with their options."""
        recipe = self.record["recipe"]
        assert recipe["text"] == recipe["vision"]
        return recipe["text"]


def without(method: Method) -> None:
    """Forget a plugin file, as a new process would."""
    sys.modules.pop(method.module, None)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "model")
    table(root / "pairs")
    return root


@pytest.fixture(scope="module", params=METHODS, ids=[method.module for method in METHODS])
def used(request: pytest.FixtureRequest, stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    root = tmp_path_factory.mktemp("used")
    for name in ("model", "pairs"):
        (root / name).symlink_to(stage / name)
    yield from use(request.param, root)


def use(method: Method, root: Path) -> Iterator[Used]:
    file = root / f"{method.module}.py"
    file.write_text(dedent(method.code).lstrip())
    with cache_at(root / "cache"):
        made = Used(method, file, root, Ran(0, "", ""))
        ran = made.flagged("edit", "-o", made.patch, "--save", root / "saved")
        yield Used(method, file, root, ran)
    without(method)


# Every command


def test_the_file_is_short(used: Used) -> None:
    assert len(used.file.read_text().splitlines()) <= LONGEST


def test_plugins_list_show_and_check_know_its_components(used: Used) -> None:
    given = ("--plugin", used.file, "plugins")
    listed = done(*given, "list", "--json").json["components"]
    own = [(entry["kind"], entry["name"]) for entry in listed if entry["plugin"] == used.method.module]
    assert sorted(own) == sorted(used.method.components)
    for kind, name in used.method.components:
        shown = done(*given, "show", name).out
        assert f"{kind} of {used.method.module}" in shown
    checked = done(*given, "check", used.method.module, "--json").json
    assert (checked["checked"], checked["partly"], checked["problems"]) == (len(own), {}, {})


def test_plan_announces_what_edit_does(used: Used) -> None:
    planned = used.flagged("plan", "--json").json["recipe"]
    assert planned["text"] == planned["vision"] == used.described()
    printed = used.flagged("plan").out
    for kind, name in used.method.components:
        assert planned["text"][kind]["name"] == name
        assert [f"{kind}.name", name, "flag"] in [line.split() for line in printed.splitlines()]


def test_edit_prints_every_site_and_writes_a_patch_that_changes_all_of_them(used: Used) -> None:
    assert set(SITES) <= set(used.ran.out.split())
    base, saved = (load_file(folder / "model.safetensors") for folder in (used.model, used.root / "saved"))
    changed = {key for key in base if not torch.equal(base[key], saved[key])}
    assert len(changed) == len(SITES)
    assert all(key.endswith((".self_attn.out_proj.weight", ".mlp.fc2.weight")) for key in changed)


def test_show_says_which_method_it_was(used: Used) -> None:
    shown = done("--plugin", used.file, "show", used.patch).out
    assert all(name in shown for _, name in used.method.components)


def test_apply_revert_and_diff_need_the_plugin_no_more(used: Used, tmp_path: Path) -> None:
    without(used.method)
    done("apply", used.patch, used.model, "-o", tmp_path / "applied")
    assert digests(tmp_path / "applied") == digests(used.root / "saved")
    differing = run("diff", used.model, tmp_path / "applied", "--json").json["differing"]
    assert len(differing) == len(SITES)
    done("revert", used.patch, tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(used.model)
    assert done("show", used.patch).out


def test_eval_measures_it_beside_its_controls(used: Used) -> None:
    report = done("--plugin", used.file, "eval", "safeground", "--patch", used.patch, *FEW, "--json").json
    assert [row["name"] for row in report["models"]] == ["base", "patch"]
    fitted = {"sides", "other", "shuffled", "shrink"}  # to pairs, and "other pairs" among its controls
    controls = fitted if used.method is MANIPULATOR else {"random", "magnitude"}
    assert {row["name"].split()[0] for row in report["controls"]} == controls


def test_a_recipe_file_says_the_same_as_the_flags(used: Used, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(used.method.recipe)
    done("--plugin", used.file, "edit", "--recipe", recipe, *used.data, "-o", tmp_path / "patch")
    assert sha(tmp_path / "patch" / "patch.safetensors") == sha(used.patch / "patch.safetensors")


def test_the_next_command_works_as_printed(used: Used) -> None:
    command = used.ran.out.splitlines()[-1].removeprefix("Next: editkit ")
    without(used.method)
    done(*split(command))


def test_eval_without_the_file_says_how_to_give_it(used: Used) -> None:
    without(used.method)
    ran = run("eval", "safeground", "--patch", used.patch, *FEW)
    if used.method in (SCORER, GRADIENT_SCORER):  # controls have scorers of their own
        assert ran.code == 0
    else:
        assert "--plugin FILE.py" in as_error(ran)
    assert run("eval", "safeground", "--patch", used.patch, *FEW, "--no-controls").code == 0


# What the methods did


def used_with(method: Method) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("used", [method], ids=[method.module], indirect=True)


def changes(used: Used) -> Iterator[tuple[Any, Any]]:
    """Weights [O, I] before and after, of each site."""
    base, saved = (load_file(folder / "model.safetensors") for folder in (used.model, used.root / "saved"))
    yield from ((base[key].double(), saved[key].double()) for key in base if not torch.equal(base[key], saved[key]))


@used_with(WHOLE)
def test_the_whole_method_gave_one_weight_of_each_row_the_rows_mean(used: Used) -> None:
    for before, after in changes(used):
        rows, columns = (before != after).nonzero(as_tuple=True)
        assert rows.tolist() == list(range(len(before)))
        assert torch.allclose(after[rows, columns], before.mean(dim=1), atol=1e-7)


@used_with(MANIPULATOR)
def test_the_manipulator_took_half_of_one_input_direction(used: Used) -> None:
    for before, after in changes(used):
        _, sizes, directions = torch.linalg.svd(before - after, full_matrices=False)
        assert sizes[1] < 1e-5 * sizes[0]
        assert torch.allclose(after @ directions[0], before @ directions[0] / 2, atol=1e-5)


@used_with(SELECTOR)
def test_the_selector_chose_by_its_option(used: Used, tmp_path: Path) -> None:
    shares = {site["site"]: site["share"] for site in used.record["sites"]}
    assert all(0 < share < 1 / 3 for share in shares.values())  # Markov: no more can exceed three times the mean
    more = ("--set", "selector.times=4", "-o", tmp_path / "patch", "--json")
    fewer = used.flagged("edit", *more).json["record"]["sites"]
    assert all(site["share"] < shares[site["site"]] for site in fewer)


@used_with(SCORER)
def test_the_scorer_is_its_formula(used: Used) -> None:
    host = load_host((used.file,))
    weight, safe, unsafe = torch.randn(3, 4), torch.randn(2, 5, 4), torch.randn(2, 6, 4)
    found = score("louder", weight, safe, None, unsafe, None, tower="vision", host=host)
    size = naive.float64(weight.abs())
    for output in range(3):
        for column in range(4):
            total = 0.0
            for x in naive.float64(unsafe):
                norms = [sum(token[i] ** 2 for token in x) ** 0.5 for i in range(4)]
                row = sum(norms[i] * size[output, i] for i in range(4)) / 4
                spread = x[:, column].std(ddof=1)
                total += row**2 * norms[column] * size[:, column].mean() / spread
            assert float(found[output, column]) == pytest.approx(total / 2, rel=1e-5)


# Among editkit's own components, and as a caller meets them


@used_with(SCORER)
def test_other_components_take_its_scorer_by_name(used: Used, tmp_path: Path) -> None:
    options = ("selector.other=louder", "selector.other_options={}", "selector.fraction=0.1")
    given = ("--plugin", used.file, "edit", *used.data, "--selector", "difference-set")
    settings = [word for option in options for word in ("--set", option)]
    record = done(*given, *settings, "-o", tmp_path / "patch", "--json").json["record"]
    assert all(0 < site["share"] < 0.1 for site in record["sites"])


@used_with(SELECTOR)
def test_another_selector_matches_its_counts(used: Used, tmp_path: Path) -> None:
    given = ("--plugin", used.file, "edit", *used.data, "--scorer", "random", "--selector", "matched")
    settings = ("--set", "selector.selector=above-mean", "--set", "selector.scorer=wanda")
    record = done(*given, *settings, "-o", tmp_path / "patch", "--json").json["record"]
    assert all(0 < site["share"] < 0.5 for site in record["sites"])


@used_with(SELECTOR)
def test_a_wrong_option_is_refused_by_its_name(used: Used) -> None:
    ran = run("--plugin", used.file, "plan", *used.method.flags[:4], *used.data, "--set", "selector.time=3")
    assert "Did you mean 'times'?" in as_error(ran)
    ran = run("--plugin", used.file, "plan", *used.method.flags[:4], *used.data, "--set", "selector.times=-1")
    assert "selector.times = -1" in as_error(ran)


@used_with(SCORER)
def test_it_can_be_asked_for_by_its_full_name(used: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("--plugin", used.file, "edit", *used.data, *used.method.flags, "--scorer", "louder_outputs/louder")
    done(*given)
    (folder,) = (tmp_path / "editkit-runs").iterdir()
    assert folder.name.startswith("louder-")
    assert sha(folder / "patch.safetensors") == sha(used.patch / "patch.safetensors")


@used_with(WHOLE)
def test_python_takes_it_by_a_host(used: Used, tmp_path: Path) -> None:
    without(used.method)
    host = load_host((used.file,))
    names = {f"{kind}.name": name for kind, name in used.method.components}
    edited = editkit.edit(
        model=used.model,
        data=str(used.root / "pairs" / "t.jsonl"),
        settings={**names, "compute.workers": 0},
        output=tmp_path / "patch",
        host=host,
    )
    assert sha(edited.folder / "patch.safetensors") == sha(used.patch / "patch.safetensors")


def test_what_a_scorer_notes_of_its_own_is_printed() -> None:
    record = {"dropped": {}, "degenerate": {"undefined_weights": 1234, "odd_rows": 0}, "sites": []}
    assert remarks(record) == ["1,234 undefined weights were noted by the scorer."]


@used_with(SCORER)
def test_a_file_that_was_changed_is_not_served_its_old_scores(used: Used, tmp_path: Path) -> None:
    used.flagged("edit", "-o", tmp_path / "first")
    old = used.file.read_text()
    used.file.write_text(old.replace("rows**2", "1 / rows"))
    without(used.method)
    try:
        used.flagged("edit", "-o", tmp_path / "second")
    finally:
        used.file.write_text(old)
        without(used.method)
    assert sha(tmp_path / "first" / "patch.safetensors") == sha(used.patch / "patch.safetensors")
    assert sha(tmp_path / "second" / "patch.safetensors") != sha(used.patch / "patch.safetensors")
