"""Recipes by name: finding, listing and showing them, and telling a name from a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import as_error, done, run

from editkit.components.host import Host
from editkit.components.load import load_host
from editkit.errors import RecipeError
from editkit.recipes.catalogue import FOLDER, find_recipe, list_recipes, origin, recipe_file
from editkit.recipes.layers import FAMILIES, read_recipe
from editkit.recipes.recipe import Recipe, resolve

NAMES = [recipe.name for recipe in list_recipes()]
OWN = "selector: {name: adaptive, tau: 0.3}\n"


@pytest.fixture(scope="module")
def host() -> Host:
    """editkit's own components only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITKIT_PLUGINS", "off")
        return load_host()


def resolved(name: str, host: Host) -> Recipe:
    return resolve([("data", {"data.name": "pairs", "data.path": "x"}), (origin(name), read_recipe(name))], host)


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {path: value for key, below in tree.items() for path, value in leaves(below, f"{prefix}{key}.").items()}


def without_torch(*args: str) -> None:
    code = (
        "import sys; from editkit.cli import main; code = main(sys.argv[1:]); "
        "sys.exit('torch is imported' if 'torch' in sys.modules else code)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "EDITKIT_PLUGINS"}
    ran = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr


# what is shipped


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_resolves_to_what_it_says(name: str, host: Host) -> None:
    recipe = resolved(name, host)
    stated = set(read_recipe(name)) - {FAMILIES}
    assert {path for path, origin_ in recipe.origins.items() if origin_ == f"recipe {name}"} == stated
    assert "model" not in stated and not any(path.startswith(("data.", "compute.")) for path in stated)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_stays_as_it_is_when_a_default_changes(name: str, host: Host) -> None:
    recipe = resolved(name, host)
    stated = set(read_recipe(name))
    assert {"targets", "calibration.limit", "calibration.tokens"} <= stated
    for tower in {target.partition(":")[0] for target in recipe.targets}:
        for path, value in leaves(recipe.describe()[tower]).items():
            # an option that is None is one that the others rule out
            assert value is None or stated & {path, f"{tower}.{path}"}, f"{tower}.{path} is left to its default"


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_begins_with_one_line_that_says_what_it_is(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.text.startswith(f"# {recipe.summary}\n") and len(recipe.summary) > 10
    assert recipe.text.isascii()


def test_every_file_below_the_folder_is_a_recipe() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sorted(map(str, files)) == sorted(str(recipe.path) for recipe in list_recipes())


def test_released_and_paper_differ_in_aggregation_and_calibration_only(host: Host) -> None:
    released, paper = (leaves(resolved(name, host).describe()) for name in ("uwm-released", "uwm-paper"))
    assert released.keys() == paper.keys()
    assert {path: (released[path], paper[path]) for path in released if released[path] != paper[path]} == {
        "text.scorer.aggregation": ("pairs", "means"),
        "vision.scorer.aggregation": ("pairs", "means"),
        "calibration.limit": (8192, None),
        "calibration.per_concept": (None, 400),
        "calibration.tokens": ("released", "real"),
    }


def test_the_page_names_every_recipe() -> None:
    page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text()
    listing = page.split("```text\n")[1].split("```")[0]
    assert listing == done("recipes", "list").out


# a name or a file


def test_a_name_is_the_shipped_file_and_its_origin_says_so() -> None:
    assert recipe_file("paper/supp3-out-fc2") == FOLDER / "paper" / "supp3-out-fc2.yaml"
    assert origin("paper/supp3-out-fc2") == "recipe paper/supp3-out-fc2"
    assert read_recipe("uwm-paper") == read_recipe(FOLDER / "uwm-paper.yaml")


def test_a_file_that_exists_beats_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_recipe("uwm-paper")["scorer.name"] == "uwm"
    Path("uwm-paper").write_text(OWN)
    assert read_recipe("uwm-paper") == {"selector.name": "adaptive", "selector.tau": 0.3}
    assert origin("uwm-paper") == "recipe file uwm-paper"


def test_a_folder_does_not_hide_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("paper/supp4-text").mkdir(parents=True)
    assert read_recipe("paper/supp4-text")["targets"] == ["text:attn.out"]


@pytest.mark.parametrize("text", ["own.yaml", "./own.yaml", "own.yml", "./own"])
def test_a_path_is_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(text).write_text(OWN)
    assert read_recipe(text) == read_recipe(Path(text)) == {"selector.name": "adaptive", "selector.tau": 0.3}
    assert origin(text) == f"recipe file {Path(text).name}"


@pytest.mark.parametrize(
    "text", ["nowhere.yaml", "paper/nowhere.yml", "./uwm-paper", "../uwm-paper", "/uwm-paper", "~/r"]
)
def test_what_looks_like_a_path_is_never_a_name(text: str) -> None:
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        read_recipe(text)
    assert caught.value.remedy == "Give a YAML file."


def test_a_path_object_is_never_a_name() -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(Path("uwm-paper"))
    assert origin(Path("uwm-paper")) == "recipe file uwm-paper"


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("uwm-relased", "uwm-released"),
        ("supp3-out-fc2", "paper/supp3-out-fc2"),
        ("paper/supp3-out-fc3", "paper/supp3-out-fc2"),
        ("UWM-paper", "uwm-paper"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_closest(name: str, closest: str) -> None:
    for look in (find_recipe, read_recipe):
        with pytest.raises(RecipeError) as caught:
            look(name)
        assert caught.value.problem == f"There is no recipe '{name}'. Did you mean '{closest}'?"
        assert "`editkit recipes list`" in caught.value.remedy


def test_a_name_cannot_leave_the_folder() -> None:
    with pytest.raises(RecipeError, match="There is no recipe"):
        find_recipe("paper/../uwm-paper")


# the command line


def test_the_list_has_every_name_with_its_summary_in_80_columns() -> None:
    out = done("recipes", "list").out
    rows = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert {name: summary.strip() for name, summary in rows.items()} == {
        recipe.name: recipe.summary for recipe in list_recipes()
    }
    assert max(map(len, out.splitlines())) <= 80


def test_the_list_keeps_the_rows_of_a_table_together() -> None:
    blocks = done("recipes", "list").out.split("\n\n")[:-1]
    groups = [{line.split("-")[0] for line in block.splitlines()} for block in blocks]
    assert groups == [
        {"uwm"},
        *({f"paper/main{table}"} for table in (1, 3, 4, 5)),
        *({f"paper/supp{table}"} for table in (1, 2, 3, 4)),
        {"rivals/redirect"},
    ]  # fmt: skip


def test_the_list_as_json() -> None:
    assert done("recipes", "list", "--json").json == {
        "recipes": [{"name": recipe.name, "summary": recipe.summary} for recipe in list_recipes()]
    }


def test_show_prints_the_yaml_verbatim_and_the_command(tmp_path: Path) -> None:
    out = done("recipes", "show", "paper/main1-g-unsafe").out
    assert out.startswith((FOLDER / "paper" / "main1-g-unsafe.yaml").read_text())
    assert out.splitlines()[-1] == "# Run it: editkit edit --recipe paper/main1-g-unsafe"
    assert yaml.safe_load(out) == yaml.safe_load(find_recipe("paper/main1-g-unsafe").text)


def test_show_as_json_has_the_flat_values() -> None:
    shown = done("recipes", "show", "paper/supp4-vision", "--json").json
    assert shown == {
        "name": "paper/supp4-vision",
        "summary": "Supp. Table 4, vision tower alone",
        "values": {
            "targets": ["vision:mlp.out"],
            "calibration.limit": 8192,
            "calibration.tokens": "released",
            "scorer.name": "uwm",
            "scorer.aggregation": "pairs",
            "scorer.prior": "text",
            "selector.name": "adaptive",
            "selector.tau": 0.02,
            "manipulator.name": "scale",
            "manipulator.alpha": -1,
        },
    }


@pytest.mark.parametrize("command", [("recipes", "show"), ("plan", "--recipe"), ("edit", "--dry-run", "--recipe")])
def test_a_misspelt_name_is_a_users_error(command: tuple[str, ...]) -> None:
    assert "Did you mean 'paper/main1-uwm'?" in as_error(run(*command, "paper/main1-uvm"))


@pytest.mark.parametrize("text", ["", "nowhere.yaml"])
def test_a_recipe_that_is_empty_or_missing_is_never_left_out_in_silence(text: str) -> None:
    assert "ecipe" in as_error(run("plan", "--recipe", text))


def test_neither_list_nor_show_imports_torch() -> None:
    without_torch("recipes", "list")
    without_torch("recipes", "show", "uwm-paper", "--json")


def test_a_plan_says_which_recipe_a_value_comes_from(tmp_path: Path) -> None:
    planned = done("plan", "--json", "--recipe", "paper/supp3-value-out", "--limit", 5, "--tau", 0.1).json
    assert planned["origins"]["targets"] == planned["origins"]["scorer.prior"] == "recipe paper/supp3-value-out"
    assert planned["origins"]["selector.tau"] == planned["origins"]["calibration.limit"] == "flag"
    assert {group["sites"] for group in planned["groups"]} == {"text:attn.v", "vision:attn.out"}
    (tmp_path / "own.yaml").write_text(OWN)
    assert done("plan", "--json", "--recipe", tmp_path / "own.yaml").json["origins"]["selector.tau"] == (
        "recipe file own.yaml"
    )
