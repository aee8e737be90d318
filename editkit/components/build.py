"""A component is made: imported, built, held to its protocol, and put behind the guard that names it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from editkit.components.conformance import require_protocols
from editkit.components.guard import Guard, blaming, called
from editkit.components.spec import Options, Spec
from editkit.components.specs import AdapterSpec


def build(spec: Spec, plugin: str, *given: Options) -> Any:
    """Return the component, called with `given`: its options, or nothing for an adapter.

    Raises:
        PluginError: it cannot be imported or built, or lacks a method of its protocol.
    """
    who, made = called(spec, plugin), spec.load()
    with blaming(who, plugin):
        component = made(*given)
    require_protocols(spec, component, plugin)
    return Guard(component, who, plugin)


def try_out(spec: Spec, plugin: str) -> None:
    """Build a component as it is without options, and look at its class alone if one has to be given.

    Raises:
        PluginError: it cannot be imported or built, or lacks a method of its protocol.
    """
    try:
        given = () if isinstance(spec, AdapterSpec) else (spec.options(),)
    except ValidationError:
        require_protocols(spec, spec.load(), plugin)
    else:
        build(spec, plugin, *given)
