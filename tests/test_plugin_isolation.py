"""Real distributions on the path, each of which may be broken without hurting the others."""

from __future__ import annotations

import pytest
from plugin_samples import BROKEN, GOOD, OWN, Install, scorers

import editkit
from editkit.components.load import load_host
from editkit.components.specs import ScorerSpec, SelectorSpec
from editkit.errors import InstallError, PluginError


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_loses_only_itself(install: Install, kind: str) -> None:
    code, why = BROKEN[kind]
    install("editkit-broken", "broken_plugin", code)
    install("editkit-good", "good_plugin", GOOD.format(scorer="good"))
    install("editkit-zest", "zest_plugin", GOOD.format(scorer="zest"))
    host = load_host()
    assert scorers(host) == OWN | {"good", "zest"}
    assert "half-selector" not in host.of_kind(SelectorSpec)
    assert list(host.failures) == ["editkit-broken"]
    assert why in host.failures["editkit-broken"]
    assert "editkit-broken" not in host.loaded
    assert "broken_plugin" not in {getattr(plugin, "__name__", "") for plugin in host.manager.get_plugins()}


def test_one_broken_entry_point_of_a_distribution_leaves_the_other(install: Install) -> None:
    install("editkit-two", "two_a", "1 / 0", two_b=GOOD.format(scorer="b"))
    host = load_host()
    assert scorers(host) == OWN | {"b"}
    assert "ZeroDivisionError" in host.failures["editkit-two"]


def test_asking_for_what_a_broken_plugin_would_have_brought_gives_its_error(install: Install) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('no GPU here')")
    with pytest.raises(PluginError) as caught:
        load_host().resolve(ScorerSpec, "lost")
    assert caught.value.problem == (
        "Unknown scorer 'lost'. Plugin editkit-broken could not be loaded (RuntimeError: no GPU here)."
    )
    assert "`editkit plugins check`" in caught.value.remedy


def test_a_plugin_for_another_release_says_which_one_it_requires(install: Install) -> None:
    code = "from editkit.plugin import NotThereYet"
    install("editkit-broken", "broken_plugin", code, requires="editkit[torch]>=7,<8")
    why = load_host().failures["editkit-broken"]
    assert "ImportError: cannot import name 'NotThereYet'" in why
    assert why.endswith(f"(it requires editkit[torch]<8,>=7, and editkit {editkit.__version__} is installed)")


def test_a_plugin_that_fails_with_the_release_it_requires_is_told_nothing_of_releases(install: Install) -> None:
    install("editkit-broken", "broken_plugin", "1 / 0", requires="editkit>=0.1,<9")
    assert load_host().failures["editkit-broken"] == "ZeroDivisionError: division by zero"


def test_an_error_of_several_lines_is_told_in_one(install: Install) -> None:
    install("editkit-broken", "broken_plugin", "raise RuntimeError('first\\nsecond')")
    with pytest.raises(PluginError) as caught:
        load_host().resolve(ScorerSpec, "lost")
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere.at_all:Scorer", "ModuleNotFoundError: No module named 'nowhere'"),
        ("editkit.methods.scorers.uwm:Scorer", "AttributeError"),
        ("exits_at_once:Scorer", "SystemExit: first second"),
    ],
)
def test_a_component_that_cannot_be_imported_is_an_error_only_when_it_is_used(
    install: Install, target: str, why: str
) -> None:
    install("editkit-exits", "exits_at_once", "raise SystemExit('first\\nsecond')")
    code = GOOD.format(scorer="lazy").replace("{__name__}:Plain", target)
    install("editkit-lazy", "lazy_plugin", code)
    host = load_host()
    assert "editkit-lazy" not in host.failures
    with pytest.raises(PluginError) as caught:
        host.resolve(ScorerSpec, "lazy").load()
    assert caught.value.problem.startswith(f"scorer 'lazy' cannot be loaded from {target}: {why}")
    assert str(caught.value).count("\n") == 1


def test_torch_and_torchvision_of_different_builds_are_recognised(install: Install) -> None:
    hidden = "raise ImportError('CLIPModel') from RuntimeError('operator torchvision::nms does not exist')"
    install("editkit-mismatched", "mismatched", hidden)
    spec = ScorerSpec(name="lazy", summary="", target="mismatched:Scorer")
    with pytest.raises(InstallError, match="of different builds") as caught:
        spec.load()
    assert "pip install" in caught.value.remedy
