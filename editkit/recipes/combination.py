"""Which scorers, selectors and manipulators go together, and why the others do not.

A manipulator of whole sites (`redirect`) needs neither scores nor a choice, one of units (`mean-ablate`) needs whole
columns: what the user left open is set so that the method makes sense, and what contradicts it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from editkit.components.host import Host
from editkit.components.site import Tower, is_whole
from editkit.components.specs import Axis, ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.errors import RecipeError

Implied = dict[str, tuple[str, str]]
"""By kind ("scorer", "selector"): the component that is implied, and what implies it."""


def imply(
    values: Mapping[str, Any], own: Mapping[str, Any], shared: Collection[str], targets: Sequence[str], host: Host
) -> Implied:
    """Return what one tower's manipulator and targets imply where nothing else was given.

    Args:
        values: the tower's flat values (`scorer.name`, `selector.tau` ...), its own and those it shares.
        own: those that were set for this tower alone.
        shared: paths that were set for both, by anything but editkit's defaults.
    """
    manipulator = host.resolve(ManipulatorSpec, str(values["manipulator.name"]))
    implied: Implied = {}
    # beside a manipulator of this tower's own that needs no choice, a shared one is meant for the other tower
    chosen = set(own) if "manipulator.name" in own and manipulator.acts_on == "sites" else {*own, *shared}
    if "selector.name" not in chosen:
        if manipulator.acts_on == "sites":
            implied["selector"] = ("all", manipulator.name)
        elif is_whole(targets):
            implied["selector"] = ("all", f"target {', '.join(targets)}")
        elif manipulator.acts_on == "units":
            implied["selector"] = ("units", manipulator.name)
    name, reason = implied.get("selector", (str(values["selector.name"]), f"selector {values['selector.name']}"))
    if "scorer.name" not in chosen and not host.resolve(SelectorSpec, name).ranks:
        implied["scorer"] = ("none", reason)
    return implied


def require_used(tower: Tower, values: Mapping[str, Any], implied: Implied, host: Host) -> None:
    """Check that nothing was set on a component in whose place another one is implied.

    Raises:
        RecipeError: it was; names the option, and what takes the component's place.
    """
    for kind, (name, reason) in implied.items():
        known = set() if kind == "scorer" else set(host.resolve(SelectorSpec, name).options.model_fields)
        for path in values:
            if path.startswith(f"{kind}.") and path != f"{kind}.name" and path.removeprefix(f"{kind}.") not in known:
                instead = "no scorer" if kind == "scorer" else f"selector '{name}'"
                raise RecipeError(
                    f"{path} would do nothing in the {tower} tower: {reason} implies {instead}.",
                    f"Leave it out; if it is meant for the other tower alone, set {_other(tower)}.{path}.",
                )


def require_sense(
    tower: Tower, scorer: ScorerSpec | None, selector: SelectorSpec, manipulator: ManipulatorSpec, axis: Axis
) -> None:
    """Check that three components make a method.

    Args:
        axis: of a selector of units, "inputs" or "outputs"; else "".

    Raises:
        RecipeError: they do not; says why.
    """
    if manipulator.acts_on == "sites" and (scorer is not None or selector.ranks):
        useless = [f"scorer '{scorer.name}'"] if scorer else []
        useless += [f"selector '{selector.name}'"] if selector.ranks else []
        raise RecipeError(
            f"Manipulator '{manipulator.name}' of the {tower} tower rewrites whole sites, so "
            f"{' and '.join(useless)} would do nothing.",
            "Leave out --scorer and --selector; choose sites with --target.",
        )
    if manipulator.acts_on == "units" and not (selector.ranks and selector.units and axis == "inputs"):
        what = f"'{selector.name}'" + (f" with selector.axis {axis}" if axis else "")
        raise RecipeError(
            f"Manipulator '{manipulator.name}' of the {tower} tower replaces whole input columns, which selector "
            f"{what} does not choose.",
            "Give --selector units (with selector.axis inputs).",
        )
    if selector.ranks and scorer is None:
        raise RecipeError(
            f"Selector '{selector.name}' of the {tower} tower ranks weights by their scores, but there is no scorer.",
            "Give --scorer, or --selector all.",
        )
    if not selector.ranks and scorer is not None:
        raise RecipeError(
            f"Selector '{selector.name}' of the {tower} tower takes every weight whatever its score, so scorer "
            f"'{scorer.name}' would do nothing.",
            "Leave out --scorer, or choose a selector that ranks, such as adaptive.",
        )


def _other(tower: Tower) -> Tower:
    return "vision" if tower == "text" else "text"
