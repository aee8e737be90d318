"""A flag for each field of a component's options: name, type, help and default are the field's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from editkit.errors import RecipeError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from editkit.components.spec import Options

WORDS = {int: "int", float: "float"}
"""What help calls numbers; they are read as YAML reads them."""


@dataclass(frozen=True)
class OptionFlag:
    """A flag of one option; what was typed is text, which the options class turns into the option's type."""

    name: str
    annotation: Any
    form: Literal["switch", "text", "list", "yaml"]

    def read(self, given: Any) -> Any:
        """Return what was typed as the options class takes it.

        Raises:
            RecipeError: it was to be YAML, and is none.
        """
        if self.form == "list":
            return tuple(part.strip() for text in given for part in text.split(","))
        if self.form == "yaml":
            import yaml

            from editkit.files.yaml_text import read_yaml

            try:
                return read_yaml(given)
            except yaml.YAMLError as error:
                raise RecipeError(
                    f"--{self.name.replace('_', '-')} {given}: the value cannot be read.", "Quote it as YAML needs it."
                ) from error
        return given


def option_flags(options: type[Options]) -> list[OptionFlag]:
    """Return a flag for each field: switches, lists written a,b or by repeating the flag, mappings as YAML."""
    return [_flag(name, field) for name, field in options.model_fields.items()]


def _flag(name: str, field: FieldInfo) -> OptionFlag:
    kind, flag = _value_type(field.annotation), f"--{name.replace('_', '-')}"
    told = _help(field)
    if kind is bool:
        both = f"{flag}/--no-{flag.removeprefix('--')}"
        return OptionFlag(name, Annotated[bool | None, typer.Option(both, help=told)], "switch")
    if get_origin(kind) in (tuple, list, set, frozenset, Sequence):
        return OptionFlag(name, Annotated[list[str] | None, typer.Option(flag, help=told, metavar="<a,b>")], "list")
    plain = kind in (str, Path) or get_origin(kind) is Literal
    word = typer.Option(flag, help=told, metavar=f"<{'str' if plain else WORDS.get(kind, 'yaml')}>")
    return OptionFlag(name, Annotated[str | None, word], "text" if plain else "yaml")


def _help(field: FieldInfo) -> str:
    told = f"{(field.description or '').rstrip('.')}."
    told = told[:1].upper() + told[1:]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None or default == ():
        return told
    return f"{told} [default: {','.join(map(str, default)) if isinstance(default, (tuple, list)) else default}]"


def _value_type(annotation: Any) -> Any:
    """Return the type of a value that is there; a choice of several types stays one."""
    if get_origin(annotation) is Annotated:
        return _value_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return _value_type(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
