"""What a tower's selector and manipulator ask for, resolved with the host of the recipe that chose them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editkit.components.choice import Choice
from editkit.components.guard import called, tell_author
from editkit.components.host import Host
from editkit.components.specs import ScorerSpec, SelectorSpec
from editkit.errors import PluginError, RecipeError

MAIN = "scorer"
"""The label of the recipe's own scorer."""


def asked_scorers(components: Sequence[Choice], host: Host) -> dict[str, Choice]:
    """Return the scorers that components ask for, by their labels.

    Raises:
        PluginError: there is no such scorer, or a label means two of them.
        RecipeError: a scorer does not take its options.
    """
    found: dict[str, Choice] = {}
    for component in components:
        for label, asked in component.asks("other_scorers").items():
            choice = _choose(ScorerSpec, component, label, asked, host)
            if label == MAIN or found.setdefault(label, choice) != choice:
                raise PluginError(
                    f"{called(component.spec, component.plugin)} asks for scores under the label '{label}', which is "
                    "that of another scorer here.",
                    tell_author(component.plugin),
                )
    return found


def asked_selectors(selector: Choice, host: Host) -> dict[str, Choice]:
    """Return the selectors that a selector asks for, by their labels.

    Raises:
        PluginError: there is no such selector.
        RecipeError: it does not take its options, or asks for other components itself.
    """
    found = {}
    for label, asked in selector.asks("other_selectors").items():
        choice = found[label] = _choose(SelectorSpec, selector, label, asked, host)
        if choice.asks("other_scorers") or choice.asks("other_selectors"):
            raise RecipeError(
                f"Selector '{choice.name}' asks for other scores itself, which '{selector.name}' cannot give it.",
                f"Let '{selector.name}' have another selector, or the patch that one makes.",
            )
    return found


def _choose(
    kind: type[ScorerSpec] | type[SelectorSpec], asker: Choice, label: str, asked: Mapping[str, Any], host: Host
) -> Choice:
    given = dict(asked)
    if not isinstance(name := given.pop("name", None), str):
        raise PluginError(
            f"{called(asker.spec, asker.plugin)} asks for a {kind.kind} under the label '{label}' without a name.",
            tell_author(asker.plugin),
        )
    return host.choose(kind, name, given, f"{kind.kind}.{name}")
