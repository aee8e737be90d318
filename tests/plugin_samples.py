"""Plugins for the tests of their host: one that works, every way to be broken, and what is there without any."""

from __future__ import annotations

from collections.abc import Callable

import editkit
from editkit.components.host import Host
from editkit.components.specs import ScorerSpec

Install = Callable[..., None]
HERE = f"this is editkit {editkit.__version__} with API 1"

HEAD = """
    import torch

    from editkit.plugin import ManipulatorSpec, NoOptions, Options, ScorerSpec, SelectorSpec, hookimpl

    EDITKIT_API = 1
"""

GOOD = (
    HEAD
    + """
    class Plain:
        def __init__(self, options):
            self.options = options

        def start(self, weight, site):
            return {{}}

        def update(self, state, weight, safe, unsafe):
            pass

        def finish(self, state, weight, site):
            return weight.abs()

    @hookimpl
    def editkit_scorers():
        return [ScorerSpec(name="{scorer}", summary="test", target=f"{{__name__}}:Plain", needs="weights")]
"""
)


def bringing(hook: str, spec: str) -> str:
    """A plugin whose hook brings one spec."""
    return (
        HEAD
        + f"""
    @hookimpl
    def {hook}():
        return [{spec}]
    """
    )


OWN = {
    "uwm",
    "difference",
    "unsafe",
    "gradient",
    "wanda",
    "wanda-ratio",
    "multiflow",
    "neuron-ratio",
    "snip",
    "fisher-ratio",
    "salun",
    "magnitude",
    "random",
}

BROKEN = {
    "import": ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    "syntax": ("def (:", "SyntaxError"),
    "raises": ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
    "exits": ("import sys; sys.exit('no GPU here')", "SystemExit: no GPU here"),
    "hook": (
        HEAD
        + """
    @hookimpl
    def editkit_scorers():
        raise KeyError("which")
    """,
        "KeyError: 'which'",
    ),
    "generator": (
        GOOD.format(scorer="half")
        + """
    @hookimpl
    def editkit_selectors():
        yield SelectorSpec(name="half-selector", summary="", target="a:b")
        raise ValueError("second")
    """,
        "ValueError: second",
    ),
    "wrong kind": (
        bringing("editkit_scorers", "SelectorSpec(name='x', summary='', target='a:b')"),
        "which is no ScorerSpec",
    ),
    "no list": (HEAD + "    editkit_scorers = hookimpl(lambda: 5)", "TypeError"),
    "another API": (
        GOOD.format(scorer="future").replace("EDITKIT_API = 1", "EDITKIT_API = 99"),
        f"is written for API 99 of editkit; {HERE}. Run: pip install --upgrade editkit",
    ),
    "an older API": (
        GOOD.format(scorer="past").replace("EDITKIT_API = 1", "EDITKIT_API = 0"),
        f"is written for API 0 of editkit; {HERE}. Run: pip install --upgrade",
    ),
    "no API": (
        GOOD.format(scorer="silent").replace("EDITKIT_API = 1", ""),
        f"does not say which API of editkit it is written for; {HERE}. Write EDITKIT_API = 1",
    ),
    "misspelt hook": (
        bringing("editkit_scorer", ""),
        "has a hook 'editkit_scorer', which editkit does not have. Did you mean 'editkit_scorers'?",
    ),
    "unmarked hook": (
        GOOD.format(scorer="unmarked") + "    def editkit_selectors(): return []",
        "has a function 'editkit_selectors' that is no hook. Write @hookimpl above it.",
    ),
    "no hook": (HEAD, "has no hook, so it brings nothing."),
    "words": (
        GOOD.format(scorer="seer").replace('needs="weights"', 'needs="images"'),
        "Scorer 'seer' of editkit-broken has needs = 'images': Input should be 'weights', 'inputs', ",
    ),
    "a word for a set": (
        bringing(
            "editkit_manipulators", "ManipulatorSpec(name='mover', summary='', target='a:b', needs='mean-inputs')"
        ),
        "Manipulator 'mover' of editkit-broken has needs = 'mean-inputs': Input should be a valid frozenset.",
    ),
    "misspelt field": (
        bringing("editkit_selectors", "SelectorSpec(name='x', summary='', target='a:b', other_scorer=None)"),
        "unexpected keyword argument 'other_scorer'",
    ),
    "no function": (
        bringing("editkit_selectors", "SelectorSpec(name='x', summary='', target='a:b', other_scorers={'a': {}})"),
        "Selector 'x' of editkit-broken has other_scorers = {'a': {}}: Input should be callable.",
    ),
    "a function that takes something else": (
        bringing("editkit_manipulators", "ManipulatorSpec(name='x', summary='', target='a:b', check_site=lambda s: 1)"),
        "Manipulator 'x' of editkit-broken has a function check_site that does not take 2 arguments",
    ),
    "a function that returns something else": (
        bringing("editkit_manipulators", "ManipulatorSpec(name='x', summary='', target='a:b', sequential=lambda o: 1)"),
        "Manipulator 'x' of editkit-broken: `sequential` returned 1: Input should be a valid boolean.",
    ),
    "a function that names no component": (
        bringing(
            "editkit_selectors",
            "SelectorSpec(name='x', summary='', target='a:b', other_scorers=lambda o: {'a': 'wanda'})",
        ),
        "Selector 'x' of editkit-broken: `other_scorers` returned {'a': 'wanda'}, where ['a']: Input should be",
    ),
    "a function that fails": (
        bringing(
            "editkit_manipulators", "ManipulatorSpec(name='x', summary='', target='a:b', sequential=lambda o: 1 / 0)"
        ),
        "Manipulator 'x' of editkit-broken: `sequential` failed: ZeroDivisionError: division by zero",
    ),
    "signature": (
        HEAD
        + """
    @hookimpl
    def editkit_scorers(model):
        return []
    """,
        "PluginValidationError",
    ),
}
"""By what is wrong: a plugin, and what is said of it."""


def scorers(host: Host) -> set[str]:
    return set(host.of_kind(ScorerSpec))
