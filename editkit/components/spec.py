"""What every component's spec has, and the base of all options: importable without torch.

A spec names its implementation as a dotted string, so that listing components never imports them; its `options` model
is a real class, so that a recipe is validated before anything heavy loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from editkit.errors import PluginError, one_line
from editkit.files.paths import path_or_name, source_path, user_path

API_VERSION = 1
"""The version of specs, hooks and protocols in this release: a plugin that names another one is not let in."""

PROTOCOLS = "editkit.components.protocols"

Asked = Mapping[str, Mapping[str, Any]]
"""Components that another one asks for: `name` and options of each, by the label under which it is handed over."""


ModelSource = Annotated[str, BeforeValidator(lambda given: source_path(given) if isinstance(given, str) else given)]
"""The type of an option that names a model: a folder, a file or a hub id."""


class Options(BaseModel):
    """Base of every component's options: frozen, and an unknown name is an error.

    An option whose type has `Path` in it is read as users write paths: `~` is the home folder, and what a YAML file
    says is relative to the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    @field_validator("*", mode="before")
    @classmethod
    def _paths_as_users_write_them(cls, given: Any, info: ValidationInfo) -> Any:
        kinds = _types_in(cls.model_fields[info.field_name or ""].annotation)
        return _as_paths(given) if Path in kinds else given


def _types_in(annotation: Any) -> set[Any]:
    return {annotation}.union(*map(_types_in, get_args(annotation))) if get_args(annotation) else {annotation}


def _as_paths(given: Any) -> Any:
    if isinstance(given, str):
        return path_or_name(given)
    if isinstance(given, Path):
        return user_path(given)
    return [_as_paths(one) for one in given] if isinstance(given, (list, tuple)) else given


class NoOptions(Options):
    """A component that has nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One component: its name, one line about it, where it lives, and what can be set.

    `target` is "package.module:Name", imported on first use. `reference` is the paper it
    implements. The class is called with one argument, a validated instance of `options`.

    What a component asks of the engine is said here too; where that depends on its options, it is a function of them,
    which needs no torch. Fields are checked against their types when the spec is registered, and such functions are
    called with the default options, where there are any.
    """

    kind: ClassVar[str]
    name: str
    summary: str
    target: str
    options: type[Options] = NoOptions
    reference: str = ""

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that the component has to follow, "package.module:Name" each."""
        return ()

    def load(self) -> Any:
        """Import and return the component's class.

        Raises:
            PluginError: the module or the name in it cannot be imported.
        """
        return load_target(self.target, f"{self.kind} '{self.name}'")


def load_target(target: str, what: str) -> Any:
    """Import "package.module:Name"; `what` it is says an error."""
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        from editkit.libraries import explain_import_failure

        explain_import_failure(error)
        raise PluginError(
            f"{what} cannot be loaded from {target}: {one_line(error)}",
            "Reinstall its distribution, or run `editkit plugins check` for every component's state.",
        ) from error
