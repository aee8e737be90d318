"""A component that was chosen: its spec, its validated options, and the one object that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from editkit.components.build import build
from editkit.components.spec import Options, Spec
from editkit.components.spec_types import answer
from editkit.errors import RecipeError, did_you_mean

AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True)
class Choice:
    """A component chosen by name, with its validated options and the plugin that brings it."""

    name: str
    spec: Spec
    options: Options
    plugin: str

    def build(self) -> Any:
        """Import the component and construct it with its options: once, however often it is asked for.

        Raises:
            PluginError: it cannot be imported or built, or lacks a method of its protocol.
        """
        return self._component

    @cached_property
    def _component(self) -> Any:
        return build(self.spec, self.plugin, self.options)

    def asks(self, field: str) -> Any:
        """Return what the spec's function `field` says of these options.

        Raises:
            PluginError: it fails, or returns something else than its field promises.
        """
        return answer(self.spec, field, self.options, self.plugin)

    def describe(self) -> dict[str, Any]:
        """Return the choice as it stands in records: the name, then every option."""
        return {"name": self.name, **self.options.model_dump(mode="json")}


def validate_options(model: type[AnyModel], given: Mapping[str, Any], where: str) -> AnyModel:
    """Build a component's options from what was given; `where` is the recipe's path to them.

    Raises:
        RecipeError: an unknown option, or a value that is not accepted.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"][:1]))
        if first["type"] == "extra_forbidden":
            problem = f"{path} is not an option here.{did_you_mean(str(first['loc'][0]), model.model_fields)}"
        elif first["type"] == "missing":
            problem = f"{path} has to be given."
        else:
            value = f" = {first['input']!r}" if first["loc"] else ""
            problem = f"{path}{value}: {first['msg'].removeprefix('Value error, ')}."
        raise RecipeError(problem, f"Options: {describe_options(model) or 'none'}.") from error


def describe_options(model: type[BaseModel]) -> str:
    """List a model's fields with their defaults on one line."""
    return ", ".join(
        name if field.is_required() else f"{name} ({field.get_default()})" for name, field in model.model_fields.items()
    )
