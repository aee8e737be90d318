"""Whether what a spec says has the types of its fields, its functions' answers included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cache
from inspect import signature
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from editkit.components.guard import blaming, called, tell_author
from editkit.components.spec import Options, Spec
from editkit.components.specs import KINDS
from editkit.errors import PluginError

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


@dataclass(frozen=True)
class _Field:
    """A field of a kind of spec: what it may hold and, where it holds a function, how that is called."""

    holds: TypeAdapter[Any]
    parameters: int = 0
    returns: TypeAdapter[Any] | None = None


def check_spec(spec: Spec, plugin: str) -> None:
    """Check every field of a spec, calling its functions of options with the default options, if there are any.

    Raises:
        PluginError: names the plugin, the component and the field that is wrong.
    """
    for name, field in _fields(spec.kind).items():
        value = getattr(spec, name)
        _require(field.holds, value, f"{called(spec, plugin)} has {name} = {value!r}", plugin)
        if field.returns is not None:
            _require_parameters(value, field.parameters, f"{called(spec, plugin)} has a function {name}", plugin)
    try:
        options = spec.options()
    except ValidationError:  # an option has to be given: its functions are checked when they are asked
        return
    for name, field in _fields(spec.kind).items():
        if field.returns is not None and field.parameters == 1:
            answer(spec, name, options, plugin)


def answer(spec: Spec, name: str, options: Options, plugin: str) -> Any:
    """Return what a spec's function `name` says of a component's options.

    Raises:
        PluginError: it fails, or returns something else than its field promises.
    """
    field = _fields(spec.kind)[name]
    assert field.returns is not None
    who = f"{called(spec, plugin)}: `{name}`"
    with blaming(who, plugin):
        said = getattr(spec, name)(options)
    return _require(field.returns, said, f"{who} returned {said!r}", plugin)


@cache
def _fields(kind: str) -> dict[str, _Field]:
    hints = get_type_hints(next(spec for spec in KINDS if spec.kind == kind)).items()
    return {name: _field(hint) for name, hint in hints if get_origin(hint) is not ClassVar}


def _field(hint: Any) -> _Field:
    if get_origin(hint) is not Callable:
        return _Field(TypeAdapter(InstanceOf[hint]) if is_dataclass(hint) else TypeAdapter(hint, config=STRICT))
    parameters, returned = get_args(hint)
    return _Field(TypeAdapter(hint, config=STRICT), len(parameters), TypeAdapter(returned, config=STRICT))


def _require(promised: TypeAdapter[Any], value: Any, found: str, plugin: str) -> Any:
    try:
        return promised.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{part!r}]" for part in first["loc"])
        raise PluginError(
            f"{found}{', where ' + where if where else ''}: {first['msg']}.", tell_author(plugin)
        ) from error


def _require_parameters(function: Callable[..., Any], number: int, found: str, plugin: str) -> None:
    try:
        signature(function).bind(*[None] * number)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{found} that does not take {number} arguments: {error}.", tell_author(plugin)) from error
