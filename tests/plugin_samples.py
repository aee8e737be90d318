"""Plugins for the tests of their host: one that works, every way to be broken, and what is there without any."""

from __future__ import annotations

from collections.abc import Callable

from editkit.components.host import Host
from editkit.components.specs import ScorerSpec

Install = Callable[..., None]

GOOD = """
    from editkit.components.hooks import hookimpl
    from editkit.components.specs import ScorerSpec

    @hookimpl
    def editkit_scorers():
        target = "editkit.methods.scorers.weights:Magnitude"
        return [ScorerSpec(name="{scorer}", summary="test", target=target, needs="weights")]
"""

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
        """
        from editkit import hookimpl
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
        from editkit.components.specs import SelectorSpec
        yield SelectorSpec(name="half-selector", summary="", target="a:b")
        raise ValueError("second")
    """,
        "ValueError: second",
    ),
    "wrong kind": (
        """
        from editkit import hookimpl
        from editkit.components.specs import SelectorSpec
        @hookimpl
        def editkit_scorers():
            return [SelectorSpec(name="x", summary="", target="a:b")]
        """,
        "which is no ScorerSpec",
    ),
    "no list": (
        """
        from editkit import hookimpl
        @hookimpl
        def editkit_scorers():
            return 5
        """,
        "TypeError",
    ),
    "API": (
        GOOD.format(scorer="future").replace('summary="test"', 'summary="test", api=99'),
        "TypeError: scorer 'future' is for API 99, this editkit has 1",
    ),
    "words": (
        GOOD.format(scorer="seer").replace('needs="weights"', 'needs="images"'),
        "TypeError: scorer 'seer' has needs = 'images', not one of weights, inputs,",
    ),
    "a word for a set": (
        """
        from editkit import hookimpl
        from editkit.components.specs import ManipulatorSpec
        @hookimpl
        def editkit_manipulators():
            return [ManipulatorSpec(name="mover", summary="", target="a:b", needs="mean-inputs")]
        """,
        "TypeError: manipulator 'mover' has needs = 'mean-inputs', not a set of mean-inputs,",
    ),
    "signature": (
        """
        from editkit import hookimpl
        @hookimpl
        def editkit_scorers(model):
            return []
        """,
        "PluginValidationError",
    ),
}


def scorers(host: Host) -> set[str]:
    return set(host.of_kind(ScorerSpec))
