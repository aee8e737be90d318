"""Whether a component has the methods of its protocol, with the parameters that they are called with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from editkit.components.guard import called, tell_author
from editkit.components.spec import Spec
from editkit.errors import PluginError


def require_protocols(spec: Spec, component: Any, plugin: str) -> None:
    """Check an object, or a class that cannot be built without options, against the protocols of its kind.

    Raises:
        PluginError: names the first method that is missing, or that does not take what it is called with.
    """
    for path in spec.protocols:
        module, _, name = path.partition(":")
        for problem in _differences(getattr(import_module(module), name), component):
            raise PluginError(f"{called(spec, plugin)} {problem}.", tell_author(plugin))


def _differences(protocol: type, component: Any) -> Iterator[str]:
    absent = object()
    for name, promised in _members(protocol).items():
        held = inspect.getattr_static(component, name, absent)
        if inspect.isfunction(promised):
            if held is absent or not callable(getattr(component, name)):
                yield f"has no method `{name}{_parameters(promised)}`"
            elif reason := _why_not_called(getattr(component, name), promised, bound=not inspect.isclass(component)):
                yield f"has a method `{name}` that cannot be called as `{name}{_parameters(promised)}`: {reason}"
        elif held is absent and not inspect.isclass(component):
            yield f"has no `{name}`"


def _members(protocol: type) -> dict[str, Any]:
    """Return what a protocol promises by name: functions, properties, and for a plain attribute its annotation."""
    found: dict[str, Any] = {}
    for base in reversed(protocol.__mro__):
        if getattr(base, "_is_protocol", False):
            found |= {**inspect.get_annotations(base), **vars(base)}
    return {name: member for name, member in found.items() if not name.startswith("_")}


def _parameters(promised: Any) -> str:
    own = list(inspect.signature(promised).parameters.values())[1:]
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in own]))


def _why_not_called(method: Any, promised: Any, *, bound: bool) -> str:
    """Say why a method does not take the arguments of the promised one; empty where it does."""
    wanted = list(inspect.signature(promised).parameters.values())[1:]
    positional = [each for each in wanted if each.kind is not each.KEYWORD_ONLY]
    named = {each.name: None for each in wanted if each.kind is each.KEYWORD_ONLY}
    try:
        own = inspect.signature(method)
    except ValueError:  # not written in Python
        return ""
    try:
        own.bind(*[None] * (len(positional) + (not bound)), **named)
    except TypeError as error:
        return str(error)
    return ""
