"""What components ask for comes from the host of the run, and every component of a run is built once."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import as_error, done, run, sha
from models import table, tiny_clip

import editkit
from editkit.components.host import Host
from editkit.components.load import default_host, load_host
from editkit.components.specs import ManipulatorSpec, SelectorSpec
from editkit.errors import PluginError

PLUGIN = """
    from editkit.plugin import ManipulatorSpec, Options, ScorerSpec, SelectorSpec, hookimpl

    EDITKIT_API = 1
    BUILT = []


    class Once:
        def __init__(self, options):
            BUILT.append(type(self).__name__)
            self.options = options


    class Size(Once):
        def start(self, weight, site):
            return {}

        def update(self, state, weight, safe, unsafe):
            pass

        def finish(self, state, weight, site):
            return weight.abs()


    class ShareOptions(Options):
        shares: dict[str, float] = {}


    class Shares(Once):
        def select(self, scores, context):
            return {site: self.top(site, values) for site, values in scores.items()}

        def top(self, site, values):
            share = self.options.shares.get(site.role, 0.5)
            return values > values.flatten().sort().values[int((1 - share) * (values.numel() - 1))]


    class Both(Once):
        def select(self, scores, context):
            shares = context.other_selectors["shares"].select(context.other_scores["size"], context)
            return {site: shares[site] & (values > values.median()) for site, values in scores.items()}


    class Double(Once):
        def apply(self, site, weight, bias, mask, context):
            assert context.other_scores["more"][site].shape == weight.shape
            return {"weight": weight + weight * mask}


    @hookimpl
    def editkit_scorers():
        yield ScorerSpec(name="size", summary="", target=f"{__name__}:Size")


    @hookimpl
    def editkit_selectors():
        yield SelectorSpec(name="shares", summary="", target=f"{__name__}:Shares", options=ShareOptions)
        yield SelectorSpec(
            name="both",
            summary="",
            target=f"{__name__}:Both",
            other_scorers=lambda options: {"size": {"name": "size"}},
            other_selectors=lambda options: {"shares": {"name": "shares", "shares": {"mlp.out": 0.25}}},
        )
        yield SelectorSpec(
            name="forward",
            summary="",
            target=f"{__name__}:Both",
            other_selectors=lambda options: {"again": {"name": "both"}},
        )
        yield SelectorSpec(
            name="nameless", summary="", target=f"{__name__}:Both", other_scorers=lambda options: {"size": {}}
        )


    @hookimpl
    def editkit_manipulators():
        yield ManipulatorSpec(
            name="double",
            summary="",
            target=f"{__name__}:Double",
            other_scorers=lambda options: {"more": {"name": "wanda"}},
        )
        yield ManipulatorSpec(
            name="clash",
            summary="",
            target=f"{__name__}:Double",
            other_scorers=lambda options: {"size": {"name": "wanda"}},
        )
        yield ManipulatorSpec(
            name="main",
            summary="",
            target=f"{__name__}:Double",
            other_scorers=lambda options: {"scorer": {"name": "wanda"}},
        )
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "model")
    table(root / "pairs")
    return root


@pytest.fixture
def file(plugin_file: Any) -> Path:
    path: Path = plugin_file("asking", PLUGIN)
    return path


def edit(host: Host, stage: Path, output: Path, **values: Any) -> editkit.Edited:
    """Edit both towers of the tiny model; `values` by path, dots written as two underscores."""
    settings = {path.replace("__", "."): value for path, value in values.items()}
    return editkit.edit(
        model=stage / "model",
        data=str(stage / "pairs" / "t.jsonl"),
        settings={"compute.workers": 0, "compute.cache": False, **settings},
        output=output,
        host=host,
    )


def built() -> Counter[str]:
    return Counter(sys.modules["asking"].BUILT)


def test_a_component_is_built_once_a_run_whatever_asks_for_it(file: Path, stage: Path, tmp_path: Path) -> None:
    host = load_host((file,))
    edit(host, stage, tmp_path / "patch", scorer="size", selector="both", manipulator="double")
    assert built() == {"Size": 1, "Both": 1, "Shares": 1, "Double": 1}


def test_a_component_with_options_of_its_own_for_a_tower_is_another_one(
    file: Path, stage: Path, tmp_path: Path
) -> None:
    own = {"text__selector__name": "shares", "text__selector__shares": {"attn.out": 0.1}}
    edit(load_host((file,)), stage, tmp_path / "patch", scorer="size", selector="shares", **own)
    assert built() == {"Size": 1, "Shares": 2}


def test_a_selector_is_given_the_selector_and_the_scores_that_it_asks_for(
    file: Path, stage: Path, tmp_path: Path
) -> None:
    made = edit(load_host((file,)), stage, tmp_path / "patch", scorer="random", selector="both", manipulator="negate")
    shares = {site["role"]: site["share"] for site in made.patch.record["sites"]}
    assert 0.08 < shares["mlp.out"] < 0.17 and 0.2 < shares["attn.out"] < 0.3


def test_what_is_asked_for_comes_from_the_host_that_was_handed_over(file: Path, stage: Path, tmp_path: Path) -> None:
    host = load_host((file,))
    assert "shares" not in default_host().of_kind(SelectorSpec)
    given = {"scorer": "random", "selector": "matched", "selector__selector": "shares", "selector__scorer": "size"}
    made = edit(host, stage, tmp_path / "patch", manipulator="negate", **given)
    assert all(site["count"] > 0 for site in made.patch.record["sites"])
    with pytest.raises(PluginError, match="Unknown scorer 'size'"):
        edit(default_host(), stage, tmp_path / "other", manipulator="negate", **given)


def test_only_what_the_public_calls_falls_back_on_the_plugins_that_are_installed() -> None:
    room = Path(editkit.__file__).parent
    callers = {path.relative_to(room) for path in room.rglob("*.py") if "default_host()" in path.read_text()}
    public = {Path("models/in_memory.py"), Path("models/captioner.py"), Path("components/load.py")}
    assert {path for path in callers - public if path.parts[0] not in ("api", "cli", "testing")} == set()


@pytest.mark.parametrize(
    ("selector", "manipulator", "said"),
    [
        (
            "both",
            "clash",
            "Manipulator 'clash' of asking asks for scores under the label 'size', which is that of another",
        ),
        (
            "shares",
            "main",
            "Manipulator 'main' of asking asks for scores under the label 'scorer', which is that of another",
        ),
        ("nameless", "negate", "Selector 'nameless' of asking asks for a scorer under the label 'size' without a name"),
        ("forward", "negate", "Selector 'both' asks for other scores itself, which 'forward' cannot give it"),
    ],
)
def test_what_cannot_be_given_is_refused_when_the_edit_is_planned(
    file: Path, stage: Path, tmp_path: Path, selector: str, manipulator: str, said: str
) -> None:
    with pytest.raises(editkit.EditkitError, match=said):
        edit(load_host((file,)), stage, tmp_path / "patch", selector=selector, manipulator=manipulator)
    assert built() == {} and not (tmp_path / "patch").exists()


def test_an_option_that_is_a_mapping_is_set_by_flag_and_by_recipe(file: Path, stage: Path, tmp_path: Path) -> None:
    data = ("--model", stage / "model", "--data", stage / "pairs" / "t.jsonl", "--workers", 0)
    shares = "selector.shares={mlp.out: 0.01, attn.out: 0.2}"
    done("--plugin", file, "edit", "--selector", "shares", "--set", shares, *data, "-o", tmp_path / "flag")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("selector:\n  name: shares\n  shares:\n    mlp.out: 0.01\n    attn.out: 0.2\n")
    done("--plugin", file, "edit", "--recipe", recipe, *data, "-o", tmp_path / "recipe")
    assert sha(tmp_path / "flag" / "patch.safetensors") == sha(tmp_path / "recipe" / "patch.safetensors")
    record = done("show", tmp_path / "flag", "--json").json["patches"][0]
    assert record["recipe"]["text"]["selector"]["shares"] == {"mlp.out": 0.01, "attn.out": 0.2}


def test_a_mapping_is_checked_by_the_options_that_it_is_given_to(file: Path, stage: Path) -> None:
    ran = run("--plugin", file, "plan", "--selector", "shares", "--set", "selector.shares={mlp.out: many}")
    assert "selector.shares = 'many': Input should be a valid number" in as_error(ran)
    ran = run("plan", "--set", "selector.tau={mlp.out: 0.1}")
    assert "selector.tau = {'mlp.out': 0.1}: Input should be a valid number" in as_error(ran)


def test_functions_of_options_that_have_to_be_given_are_checked_when_they_are(plugin_file: Any) -> None:
    path = plugin_file(
        "required",
        """
        from editkit.plugin import ManipulatorSpec, Options, hookimpl

        EDITKIT_API = 1

        class Needed(Options):
            amount: float

        @hookimpl
        def editkit_manipulators():
            yield ManipulatorSpec(
                name="late", summary="", target="a:b", options=Needed, sequential=lambda options: options.amount
            )
        """,
    )
    host = load_host((path,))
    choice = host.choose(ManipulatorSpec, "late", {"amount": 2.0}, "manipulator")
    with pytest.raises(PluginError, match="Manipulator 'late' of required: `sequential` returned 2.0: Input should be"):
        choice.asks("sequential")
