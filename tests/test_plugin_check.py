"""`editkit plugins check` builds every component and holds it to the methods that editkit calls."""

from __future__ import annotations

from typing import Any

import pytest
from command_line import run
from plugin_samples import HEAD

from editkit.components.conformance import require_protocols
from editkit.components.load import default_host, load_host
from editkit.components.specs import ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.errors import PluginError

SCORER = (
    HEAD
    + """
    class Half:
        def __init__(self, options): ...
        def start(self, weight, site): return {}
        def update(self, state, weight, safe, unsafe): ...
        def finish(self, state, weight, site): return weight

    @hookimpl
    def editkit_scorers():
        return [ScorerSpec(name="half", summary="", target=f"{__name__}:Half")]
"""
)


def problems(plugin_file: Any, code: str) -> dict[str, str]:
    """What `plugins check` finds wrong with a plugin file, by component."""
    ran = run("--plugin", plugin_file("checked", code), "plugins", "check", "checked", "--json")
    found: dict[str, str] = ran.json["problems"]
    assert ran.code == (3 if found else 0)
    return found


def test_a_component_with_its_methods_is_no_problem(plugin_file: Any) -> None:
    assert problems(plugin_file, SCORER) == {}


def test_every_component_that_is_installed_keeps_its_protocol() -> None:
    ran = run("plugins", "check", "--json")
    assert (ran.code, ran.json["problems"]) == (0, {})
    assert ran.json["checked"] == len(default_host().components)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def finish(", "def finnish(", "has no method `finish(state, weight, site)`"),
        (
            "def start(self, weight, site)",
            "def start(self, weight)",
            "`start` that cannot be called as `start(weight, site)`",
        ),
        (
            "safe, unsafe): ...",
            "safe, unsafe, more): ...",
            "`update` that cannot be called as `update(state, weight, safe, ",
        ),
        ("def start(self, weight, site): return {}", "start = 3", "has no method `start(weight, site)`"),
        ('f"{__name__}:Half"', 'f"{__name__}:Half", notes=True', "has no method `notes(state, weight)`"),
        (
            'f"{__name__}:Half"',
            'f"{__name__}:Half", needs="gradients"',
            "has no method `loss_batch(tower)`",
        ),
        ("(self, options): ...", "(self): ...", "failed: TypeError: Half.__init__() takes 1 positional argument"),
        ("(self, options): ...", "(self, options): raise OSError('no GPU here')", "failed: OSError: no GPU here"),
        (':Half"', ':Whole"', "cannot be loaded from checked:Whole: AttributeError"),
    ],
)
def test_what_a_component_lacks_is_named(plugin_file: Any, old: str, new: str, said: str) -> None:
    assert SCORER.count(old) == 1
    found = problems(plugin_file, SCORER.replace(old, new))
    assert list(found) == ["scorer checked/half"]
    assert said in found["scorer checked/half"]


def test_a_scorer_of_weights_needs_no_update(plugin_file: Any) -> None:
    code = SCORER.replace("def update(self, state, weight, safe, unsafe): ...", "")
    assert code != SCORER and problems(plugin_file, code) != {}
    assert problems(plugin_file, code.replace(':Half")', ':Half", needs="weights")')) == {}


def test_a_sample_scorer_without_sides_is_named(plugin_file: Any) -> None:
    code = SCORER.replace(':Half")', ':Half", needs="sample-gradients")')
    code = code.replace("def start(", "def loss(self, own, other, other_twin): ...\n        def start(")
    code = code.replace("weight, safe, unsafe)", "weight, side, gradients)")
    assert "has no `sides`" in problems(plugin_file, code)["scorer checked/half"]


def test_a_component_that_cannot_be_built_without_options_is_held_to_its_class(plugin_file: Any) -> None:
    code = (
        HEAD
        + """
    class Needed(Options):
        amount: float

    class Mover:
        def __init__(self, options): raise AssertionError("not to be built")
        def apply(self, site, weight): ...

    @hookimpl
    def editkit_manipulators():
        return [ManipulatorSpec(name="mover", summary="", target=f"{__name__}:Mover", options=Needed)]
    """
    )
    said = problems(plugin_file, code)["manipulator checked/mover"]
    assert "`apply` that cannot be called as `apply(site, weight, bias, mask, context)`: too many positional" in said
    assert problems(plugin_file, code.replace("apply(self, site, weight)", "apply(self, *given)")) == {}


def test_adapters_evaluations_and_judges_are_held_to_theirs(plugin_file: Any) -> None:
    code = """
    from editkit.plugin import AdapterSpec, EvalSpec, JudgeSpec, hookimpl
    from editkit_clip.transformers_format import TransformersClip

    EDITKIT_API = 1
    HERE = f"{__name__}:"

    class Silent(TransformersClip): ...

    class Nothing:
        def __init__(self, options): ...

    @hookimpl
    def editkit_adapters():
        yield AdapterSpec(name="silent", summary="", target=HERE + "Silent", captions=True)

    @hookimpl
    def editkit_evals():
        yield EvalSpec(name="nothing", summary="", target=HERE + "Nothing")

    @hookimpl
    def editkit_judges():
        yield JudgeSpec(name="nothing", summary="", target=HERE + "Nothing")
    """
    found = problems(plugin_file, code)
    assert "has no method `load_captioner(files, *, device, dtype, device_map=None)`" in found["adapter checked/silent"]
    assert set(found) == {"adapter checked/silent", "evaluation checked/nothing", "judge checked/nothing"}


def test_a_component_that_is_hidden_by_anothers_name_is_checked_too(plugin_file: Any) -> None:
    code = SCORER.replace('name="half"', 'name="uwm"').replace("def finish(", "def finnish(")
    assert list(problems(plugin_file, code)) == ["scorer checked/uwm"]


def test_a_plugin_that_brings_nothing_is_named(plugin_file: Any) -> None:
    with pytest.raises(PluginError, match="has no hook, so it brings nothing"):
        load_host((plugin_file("checked", HEAD),))


def test_what_is_lacking_is_found_when_an_edit_is_planned_not_after_the_scoring(plugin_file: Any) -> None:
    path = plugin_file("checked", SCORER.replace("def finish(", "def finnish("))
    ran = run("--plugin", path, "plan", "--scorer", "half")
    assert "Scorer 'half' of checked has no method `finish(state, weight, site)`." in ran.err


@pytest.mark.parametrize(
    ("kind", "name"), [(ScorerSpec, "uwm"), (SelectorSpec, "adaptive"), (ManipulatorSpec, "blend")]
)
def test_a_class_keeps_the_protocol_as_what_is_built_of_it_does(kind: Any, name: str) -> None:
    spec = default_host().resolve(kind, name)
    require_protocols(spec, spec.load(), "editkit")
