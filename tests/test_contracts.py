"""Every component that is installed keeps the contract of its kind, and `plugins check` says which do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zeroshot_layouts as layouts
from command_line import as_error, done, run
from pluggy import PluginManager
from plugin_samples import GOOD, HEAD, Install

from editkit.components.host import Component, Host
from editkit.components.load import default_host
from editkit.components.specs import AdapterSpec, JudgeSpec, ScorerSpec
from editkit.testing import check_dataset, check_eval, check_judge, check_manipulator, check_scorer, check_selector
from editkit.testing.installed import check_component, check_installed

ASK_FOR_SOMETHING = {
    "selector": {"threshold", "matched"},
    "manipulator": {"blend", "merge", "lora"},
    "dataset": {"visu", "pairs", "classes", "queries", "zeroshot"},
    "judge": {"llm", "guard", "replay"},
    "adapter": {spec.name for spec in default_host().of_kind(AdapterSpec).values()} - {"demo"},
}
"""By kind: what has options that must be given, or needs a model. These are held to their contracts elsewhere."""

OTHERWISE: tuple[tuple[Callable[..., None], str, Mapping[str, Any]], ...] = (
    (check_scorer, "uwm", {"aggregation": "means", "prior": "both"}),
    (check_scorer, "gradient", {"loss": "g-safe-clip", "loss_batch": 4}),
    (check_scorer, "gradient", {"target": "same-modal"}),
    (check_scorer, "wanda", {"side": "safe"}),
    (check_scorer, "neuron-ratio", {"importance": "rms"}),
    (check_scorer, "neuron-ratio", {"importance": "std"}),
    (check_scorer, "snip", {"side": "safe", "loss": "g-unsafe"}),
    (check_scorer, "salun", {"side": "safe"}),
    (check_selector, "topk", {"per": "row", "fraction": 0.2}),
    (check_selector, "threshold", {"above": 0.5}),
    (check_selector, "matched", {"selector": "topk", "fraction": 0.1}),
    (check_selector, "units", {"axis": "outputs", "pool": "max"}),
    (check_manipulator, "blend", {"model": "another checkpoint"}),
    (check_manipulator, "blend", {"model": "another checkpoint", "amount": 0.5}),
    (check_manipulator, "merge", {"models": ["one checkpoint", "another"]}),
    (check_manipulator, "merge", {"models": ["one checkpoint", "another"], "how": "ties"}),
    (check_manipulator, "redirect", {"order": "sequential", "null_space": 0.2}),
    (check_manipulator, "refuse", {"direction": "least-energy"}),
    (check_eval, "retrieval", {"ks": [2, 3], "directions": ["Vu-Tu+s"]}),
    (check_judge, "toxicity", {"threshold": 0.9, "batch_size": 1}),
)
"""Options that must be given, or that take another path through a component."""


@pytest.mark.parametrize("component", default_host().everything, ids=lambda component: component.full_name)
def test_an_installed_component_keeps_its_contract_or_asks_for_something(component: Component) -> None:
    why = check_component(component, default_host())
    assert bool(why) == (component.spec.name in ASK_FOR_SOMETHING.get(component.spec.kind, ())), why


@pytest.mark.parametrize(("check", "name", "options"), OTHERWISE)
def test_with_other_options_it_keeps_it_too(check: Callable[..., None], name: str, options: Mapping[str, Any]) -> None:
    check(name, options)


def test_benchmarks_in_their_published_layouts_keep_it(tmp_path: Path) -> None:
    check_dataset("zeroshot", {"path": str(layouts.write(tmp_path, "eurosat", "imagenet-r"))})


# The command

LOUD = GOOD.format(scorer="loud")


def test_a_broken_clause_is_a_problem(plugin_file: Any) -> None:
    path = plugin_file("loud", LOUD.replace("weight.abs()", "weight.abs_()"))
    ran = run("--plugin", path, "plugins", "check", "loud", "--json")
    (said,) = ran.json["problems"].values()
    assert ran.code == 3 and list(ran.json["problems"]) == ["scorer loud/loud"]
    assert said == (
        "Scorer 'loud' breaks 'weights and inputs stay as they are': the weight changed "
        "Neither the weight nor inputs, masks and embeddings are changed."
    )
    assert "scorer loud/loud: Scorer 'loud' breaks" in run("--plugin", path, "plugins", "check", "loud").flat


def test_plugins_and_components_are_checked_by_name(plugin_file: Any) -> None:
    path = plugin_file("loud", LOUD)
    ran = done("--plugin", path, "plugins", "check", "loud", "editkit/threshold", "magnitude", "--json").json
    assert ran["checked"] == 3 and ran["problems"] == {}
    assert ran["partly"] == {"selector editkit/threshold": "selector.above has to be given."}
    printed = done("--plugin", path, "plugins", "check", "loud", "threshold").flat
    assert "selector editkit/threshold was checked in part: selector.above has to be given." in printed
    assert "1 components keep their contracts, 1 were checked in part, 0 problems." in printed
    assert "No plugin or component is called 'loyd'. Did you mean 'loud'?" in as_error(
        run("--plugin", path, "plugins", "check", "loyd")
    )


def test_what_a_judge_or_data_lack_here_is_no_problem(plugin_file: Any) -> None:
    code = (
        HEAD
        + """
    from editkit.plugin import DataError, DatasetSpec, InstallError, JudgeSpec

    class Absent:
        revision, prompt_hash = "1", ""
        def __init__(self, options): ...
        def load(self, split): raise DataError("There is no folder /data.", "Mount it.")
        def judge(self, items, on_item, *, ids=None): raise InstallError("words is missing.", "Install it.")

    @hookimpl
    def editkit_datasets():
        yield DatasetSpec(name="absent", summary="", target=f"{__name__}:Absent")

    @hookimpl
    def editkit_judges():
        yield JudgeSpec(name="absent", summary="", target=f"{__name__}:Absent")
    """
    )
    ran = done("--plugin", plugin_file("absent", code), "plugins", "check", "absent", "--json").json
    assert ran["problems"] == {}
    assert ran["partly"] == {
        "dataset absent/absent": "There is no folder /data.",
        "judge absent/absent": "words is missing.",
    }


def test_a_component_that_is_hidden_by_anothers_name_is_checked_too(install: Install) -> None:
    install("editkit-other", "other_plugin", GOOD.format(scorer="uwm"))
    assert done("plugins", "check", "editkit-other", "--json").json["checked"] == 1


def test_a_component_that_cannot_be_imported_is_a_problem(plugin_file: Any) -> None:
    path = plugin_file("loud", LOUD.replace(":Plain", ":Plane"))
    ran = run("--plugin", path, "plugins", "check", "loud", "--json")
    assert ran.code == 3 and "cannot be loaded from loud:Plane" in ran.json["problems"]["scorer loud/loud"]


def test_everything_is_checked_where_nothing_is_named() -> None:
    specs = (default_host().resolve(ScorerSpec, "magnitude"), default_host().resolve(JudgeSpec, "replay"))
    few = {(spec.kind, spec.name): Component(spec, "editkit") for spec in specs}
    found = check_installed(Host(PluginManager("editkit"), few, failures={"editkit-broken": "no GPU here"}))
    assert found.kept == ["scorer editkit/magnitude"]
    assert found.partly == {"judge editkit/replay": "judge.path has to be given."}
    assert found.problems == {"editkit-broken": "no GPU here"}
