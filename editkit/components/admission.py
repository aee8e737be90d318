"""Whether a plugin is let in: the API that it is written for, and its hooks."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from editkit.components.spec import API_VERSION
from editkit.errors import PluginError, did_you_mean

ATTRIBUTE = "EDITKIT_API"
MARK = "editkit_impl"
"""What `hookimpl` sets on a function."""


def require_api(plugin: str, implementation: object) -> None:
    """Check that a plugin says it is written for the API of this editkit.

    Raises:
        PluginError: it says nothing, or names another one.
    """
    given = getattr(implementation, ATTRIBUTE, None)
    if given == API_VERSION and type(given) is int:
        return
    here = f"this is editkit {metadata.version('editkit')} with API {API_VERSION}"
    if given is None:
        raise PluginError(
            f"{plugin} does not say which API of editkit it is written for; {here}.",
            f"Write {ATTRIBUTE} = {API_VERSION} into its module once it works with this one.",
        )
    newer = type(given) is int and given > API_VERSION
    raise PluginError(
        f"{plugin} is written for API {given} of editkit; {here}.",
        f"Run: pip install --upgrade {'editkit' if newer else plugin}",
    )


def require_hooks(plugin: str, implementation: object, known: Collection[str]) -> None:
    """Check that a plugin has hooks, and that all that look like hooks are.

    Raises:
        PluginError: there is none; one is misspelt, or not marked by `hookimpl`.
    """
    functions = dict(inspect.getmembers(implementation, inspect.isroutine))
    marked = {getattr(function, MARK)["specname"] or name for name, function in functions.items() if _is_hook(function)}
    for name in sorted(marked - set(known)):
        raise PluginError(
            f"{plugin} has a hook '{name}', which editkit does not have.{did_you_mean(name, known)}",
            f"Hooks are: {', '.join(sorted(known))}.",
        )
    for name in sorted(set(known) & functions.keys() - marked):
        raise PluginError(f"{plugin} has a function '{name}' that is no hook.", "Write @hookimpl above it.")
    if not marked:
        raise PluginError(f"{plugin} has no hook, so it brings nothing.", f"Hooks are: {', '.join(sorted(known))}.")


def why_excluded(distribution: metadata.Distribution | None) -> str:
    """Say that a distribution asks for another editkit than the one installed; empty where it does not."""
    here = metadata.version("editkit")
    for line in (distribution.requires or []) if distribution else []:
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if canonicalize_name(asked.name) == "editkit" and not asked.specifier.contains(here, prereleases=True):
            return f"it requires {asked}, and editkit {here} is installed"
    return ""


def _is_hook(function: object) -> bool:
    return isinstance(getattr(function, MARK, None), dict)
