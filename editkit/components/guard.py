"""What goes wrong inside a plugin is told as the plugin's: which component, at which site, what.

A component that editkit builds is called through a guard, so that no call site has to think of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import isroutine
from typing import Any

from editkit.components.site import Site
from editkit.components.spec import Spec
from editkit.errors import EditkitError, PluginError, one_line
from editkit.libraries import explain_import_failure

LONGEST = 300
"""Characters of a foreign message that are repeated."""

_AT = "_editkit_site"
_site: ContextVar[str] = ContextVar("site", default="")


@contextmanager
def at(site: Site) -> Iterator[None]:
    """Say at which site components work now, for calls that are not told themselves."""
    token = _site.set(site.name)
    try:
        yield
    except Exception as error:
        error.__dict__.setdefault(_AT, site.name)  # whoever tells of it does so after this context has ended
        raise
    finally:
        _site.reset(token)


@contextmanager
def blaming(who: str, plugin: str, site: str = "") -> Iterator[None]:
    """Turn whatever a plugin raises into an error of two lines that names it; editkit's own errors pass.

    Raises:
        PluginError: from the original error.
        InstallError: a library that it needs is missing, or does not fit another one.
    """
    try:
        yield
    except EditkitError:
        raise
    except (Exception, SystemExit) as error:
        explain_import_failure(error)
        place = site or error.__dict__.get(_AT) or _site.get()
        where = f" at {place}" if place else ""
        raise PluginError(f"{who} failed{where}: {one_line(error)[:LONGEST]}", tell_author(plugin)) from error


def called(spec: Spec, plugin: str) -> str:
    """Return what errors call a component: "Scorer 'louder' of louder-dist"."""
    return f"{spec.kind.capitalize()} '{spec.name}' of {plugin}"


def tell_author(plugin: str) -> str:
    """Return the remedy for a defect of a plugin."""
    if plugin == "editkit":
        return "This is a defect of editkit: report it."
    return f"This is a defect of {plugin}: tell its author."


class Guard:
    """A component, called as it is, whose failures name it; `__wrapped__` is the component itself.

    Args:
        component: the object that a plugin made.
        who: "Scorer 'louder' of louder-dist".
        plugin: the distribution or file that it comes from.
        apart_from: methods that answer by an exception.
    """

    def __init__(self, component: Any, who: str, plugin: str, apart_from: Collection[str] = ()) -> None:
        self.__wrapped__ = component
        self._who, self._plugin, self._apart_from = who, plugin, apart_from

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The component's class, so that `isinstance` looks at it."""
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        held = getattr(self.__wrapped__, name)
        # methods, and no other values that can be called: a model's `module` is one
        return self._guarded(held) if isroutine(held) and name not in self._apart_from else held

    def __repr__(self) -> str:
        return f"<{self._who}>"

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            site = next((value.name for value in (*given, *named.values()) if type(value) is Site), "")
            with blaming(self._who, self._plugin, site):
                return method(*given, **named)

        return call


def guarded_as(maker: Any, made: Any, *, apart_from: Collection[str] = ()) -> Any:
    """Guard what a component made under that component's name, if it has a guard itself."""
    return Guard(made, maker._who, maker._plugin, apart_from) if type(maker) is Guard else made
