"""The plugin host: what is installed, whose name wins, which plugins load, and observers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_samples import GOOD, OWN, Install, scorers

from editkit.components.host import Host
from editkit.components.load import default_host, load_host
from editkit.components.specs import (
    AdapterSpec,
    DatasetSpec,
    EvalSpec,
    JudgeSpec,
    ManipulatorSpec,
    ScorerSpec,
    SelectorSpec,
)
from editkit.errors import PluginError

SELECTORS = {"adaptive", "adaptive-signed", "topk", "threshold", "global", "units", "difference-set", "matched", "all"}
MANIPULATORS = {
    "scale",
    "negate",
    "zero",
    "dampen",
    "blend",
    "mean-ablate",
    "project",
    "redirect",
    "refuse",
    "leace",
    "inlp",
    "null-space",
    "merge",
    "lora",
}

EVALUATIONS = {
    *("safeground", "retrieval", "exposure", "robustness", "overrefusal", "restoration", "zeroshot", "captioning"),
}


@pytest.fixture
def built_ins(monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    return load_host()


# what is there


def test_built_ins_come_through_the_same_hooks(built_ins: Host) -> None:
    assert scorers(built_ins) == OWN
    assert set(built_ins.of_kind(SelectorSpec)) == SELECTORS
    assert set(built_ins.of_kind(ManipulatorSpec)) == MANIPULATORS
    assert set(built_ins.of_kind(DatasetSpec)) == {"visu", "pairs", "classes", "queries", "zeroshot"}
    assert set(built_ins.of_kind(EvalSpec)) == EVALUATIONS
    assert set(built_ins.of_kind(JudgeSpec)) == {"llm", "guard", "toxicity", "nsfw-image", "replay"}
    assert built_ins.of_kind(AdapterSpec) == {}
    assert built_ins.loaded == ["editkit"]
    assert all(component.plugin == "editkit" for component in built_ins.components.values())


def test_every_component_that_is_installed_can_be_imported() -> None:
    host = default_host()
    assert {"clip", "open_clip"} <= set(host.of_kind(AdapterSpec))
    for component in host.components.values():
        assert callable(component.spec.load()), component.full_name


def test_an_installed_distribution_is_found(install: Install) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    host = load_host()
    assert scorers(host) == OWN | {"good"}
    assert host.components["scorer", "good"].full_name == "editkit-good/good"
    assert host.failures == {}


def test_a_distribution_may_have_several_entry_points(install: Install) -> None:
    install("editkit-two", "two_a", GOOD.format(scorer="a"), two_b=GOOD.format(scorer="b"))
    host = load_host()
    assert scorers(host) == OWN | {"a", "b"}
    assert host.failures == {}
    assert host.components["scorer", "b"].plugin == "editkit-two"


# names


def test_a_built_in_wins_and_the_full_name_selects_the_other(install: Install) -> None:
    install("editkit-other", "other_plugin", GOOD.format(scorer="uwm"))
    host = load_host()
    assert host.resolve(ScorerSpec, "uwm").target == "editkit.methods.scorers.uwm:Uwm"
    assert host.resolve(ScorerSpec, "editkit/uwm").target == "editkit.methods.scorers.uwm:Uwm"
    assert host.resolve(ScorerSpec, "editkit-other/uwm").summary == "test"
    assert [(a.full_name, b.full_name) for a, b in host.shadowed] == [("editkit/uwm", "editkit-other/uwm")]


def test_a_name_is_unique_within_its_kind_only(built_ins: Host) -> None:
    with pytest.raises(PluginError, match="Unknown selector 'uwm'"):
        built_ins.resolve(SelectorSpec, "uwm")


@pytest.mark.parametrize(
    ("kind", "name", "closest"),
    [
        (ScorerSpec, "uwn", "uwm"),
        (SelectorSpec, "adaptve", "adaptive"),
        (ManipulatorSpec, "zeros", "zero"),
        (EvalSpec, "retreival", "retrieval"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(built_ins: Host, kind: Any, name: str, closest: str) -> None:
    with pytest.raises(PluginError) as caught:
        built_ins.resolve(kind, name)
    assert caught.value.problem.endswith(f"'{name}'. Did you mean '{closest}'?")
    assert caught.value.remedy.startswith("Choose one of: ")


def test_a_kind_of_which_nothing_is_installed_says_so(built_ins: Host) -> None:
    with pytest.raises(PluginError, match="Choose one of: none installed"):
        built_ins.resolve(AdapterSpec, "clip")


# which plugins load


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("off", set()),
        ("OFF", set()),
        ("", set()),
        ("editkit-good", {"good"}),
        ("good_plugin", {"good"}),
        ("editkit-good, zest_plugin", {"good", "zest"}),
    ],
)
def test_the_environment_says_which_plugins_load(
    install: Install, monkeypatch: pytest.MonkeyPatch, setting: str, expected: set[str]
) -> None:
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    install("editkit-zest", "zest_plugin", GOOD.format(scorer="zest"))
    monkeypatch.setenv("EDITKIT_PLUGINS", setting)
    host = load_host()
    assert scorers(host) == OWN | expected
    assert host.of_kind(AdapterSpec) == {}


def test_a_plugin_that_is_off_is_not_even_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("editkit-broken", "broken_plugin", "1 / 0")
    monkeypatch.setenv("EDITKIT_PLUGINS", "off")
    assert load_host().failures == {}
    assert "broken_plugin" not in sys.modules


# observers


def observer(body: str) -> str:
    return f"""
    from editkit.plugin import hookimpl

    EDITKIT_API = 1
    @hookimpl
    def editkit_finished(record, output):
        {body}
    """


def test_observers_are_told_and_one_that_fails_spoils_nothing(install: Install, tmp_path: Path) -> None:
    install("editkit-a", "observer_a", observer("raise OSError('disk full')"))
    install("editkit-b", "observer_b", observer("(output / 'seen').write_text(record['name'])"))
    host = load_host()
    assert host.finished({"name": "run"}, tmp_path) == [
        "Plugin editkit-a failed in editkit_finished: OSError: disk full"
    ]
    assert (tmp_path / "seen").read_text() == "run"


def test_without_observers_nothing_is_reported(built_ins: Host, tmp_path: Path) -> None:
    assert built_ins.finished({}, tmp_path) == []
