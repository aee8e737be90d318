"""Find plugins, keep a broken one from hurting the others, and resolve components by name.

Each entry point loads in its own `try`, each hook is called on one plugin at a time, and a
plugin that fails is left out whole: what remains works, and asking for what it would have
brought gives its error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib import util
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pluggy

from editkit.components.specs import API_VERSION, KINDS, Spec
from editkit.errors import PluginError, did_you_mean, one_line

BUILT_IN = "editkit"
HOOKS = {kind.kind: f"editkit_{kind.kind}s" if kind.kind != "evaluation" else "editkit_evals" for kind in KINDS}
AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True)
class Component:
    """A spec and the distribution that registered it."""

    spec: Spec
    plugin: str

    @property
    def full_name(self) -> str:
        """The name that always selects this very component: `distribution/name`."""
        return f"{self.plugin}/{self.spec.name}"


@dataclass
class Host:
    """The registered components, and why any plugin is missing."""

    manager: pluggy.PluginManager
    components: dict[tuple[str, str], Component] = field(default_factory=dict)
    shadowed: list[tuple[Component, Component]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    registered: list[tuple[str, object]] = field(default_factory=list)

    @property
    def loaded(self) -> list[str]:
        """The names of the plugins that work."""
        return list(dict.fromkeys(plugin for plugin, _ in self.registered))

    def fail(self, plugin: str, error: BaseException) -> None:
        """Record, on one line, why a plugin or one entry point of it is left out."""
        why = one_line(error)
        self.failures[plugin] = f"{self.failures[plugin]}; {why}" if plugin in self.failures else why

    def register(self, plugin: str, implementation: object) -> None:
        """Register a plugin's components, or, where any hook fails, record why and leave the plugin out."""
        twice = self.manager.is_registered(implementation)
        try:
            self.manager.register(implementation)  # by its own name: a distribution may have several entry points
            found = [Component(spec, plugin) for spec in self._collect(implementation)]
        except (Exception, SystemExit) as error:  # a third party's code: whatever it raises is its own failure
            if self.manager.is_registered(implementation) and not twice:
                self.manager.unregister(implementation)
            self.fail(plugin, error)
            return
        self.registered.append((plugin, implementation))
        for component in found:
            key = (component.spec.kind, component.spec.name)
            first = self.components.setdefault(key, component)
            if first is not component:
                self.shadowed.append((first, component))

    def _collect(self, implementation: object) -> Iterator[Spec]:
        others = [other for other in self.manager.get_plugins() if other is not implementation]
        for kind in KINDS:
            caller = self.manager.subset_hook_caller(HOOKS[kind.kind], remove_plugins=others)
            for specs in caller():
                for spec in specs:
                    if not isinstance(spec, kind):
                        raise TypeError(f"{HOOKS[kind.kind]} returned {spec!r}, which is no {kind.__name__}")
                    if spec.api != API_VERSION:
                        raise TypeError(
                            f"{spec.kind} '{spec.name}' is for API {spec.api}, this editkit has {API_VERSION}"
                        )
                    _require_words(spec)
                    yield spec

    def of_kind(self, kind: type[AnySpec]) -> dict[str, AnySpec]:
        """Return the specs of one kind by name."""
        return {
            name: component.spec
            for (kind_name, name), component in self.components.items()
            if kind_name == kind.kind and isinstance(component.spec, kind)
        }

    def resolve(self, kind: type[AnySpec], name: str) -> AnySpec:
        """Return the spec of `name`, or of `distribution/name`.

        Raises:
            PluginError: no plugin offers it; names the closest, and any plugin that failed to load.
        """
        everything = [*self.components.values(), *(hidden for _, hidden in self.shadowed)]
        for component in everything:
            if isinstance(component.spec, kind) and name in (component.full_name, component.spec.name):
                return component.spec
        known = sorted(self.of_kind(kind))
        broken = "".join(f" Plugin {plugin} could not be loaded ({why})." for plugin, why in self.failures.items())
        raise PluginError(
            f"Unknown {kind.kind} '{name}'.{did_you_mean(name, known)}{broken}",
            f"Choose one of: {', '.join(known) or 'none installed'}; or load the file that brings it: --plugin FILE.py."
            + (" `editkit plugins check` says what is wrong with the plugin." if broken else ""),
        )

    def finished(self, record: dict[str, Any], output: Path) -> list[str]:
        """Tell every observer that `output` was written; return one line for each that failed."""
        failed = []
        for plugin, implementation in self.registered:
            others = [other for other in self.manager.get_plugins() if other is not implementation]
            try:
                self.manager.subset_hook_caller("editkit_finished", remove_plugins=others)(record=record, output=output)
            except (Exception, SystemExit) as error:  # an observer must not spoil a finished run
                failed.append(f"Plugin {plugin} failed in editkit_finished: {one_line(error)}")
        return failed


def _require_words(spec: Spec) -> None:
    """Check the fields of a spec that are one word of a few, or a set of them (`needs`, `acts_on`)."""
    for name, words, several in _words()[spec.kind]:
        given = getattr(spec, name)
        held = given if several else (given,)
        if isinstance(held, str) or not set(held) <= set(words):
            what = "a set of" if several else "one of"
            raise TypeError(f"{spec.kind} '{spec.name}' has {name} = {given!r}, not {what} {', '.join(words)}")


@cache
def _words() -> dict[str, list[tuple[str, tuple[str, ...], bool]]]:
    """Return, by kind of spec, the names of such fields, their words, and whether a field holds several."""
    found: dict[str, list[tuple[str, tuple[str, ...], bool]]] = {}
    for kind in KINDS:
        fields = found.setdefault(kind.kind, [])
        for name, hint in get_type_hints(kind).items():
            several = get_origin(hint) is frozenset
            word = get_args(hint)[0] if several else hint
            if get_origin(word) is Literal:
                fields.append((name, get_args(word), several))
    return found


def code_digest(spec: Spec) -> str:
    """Return the sha256 of the file that a component's code is in: what it made is cached under it."""
    found = util.find_spec(spec.target.partition(":")[0])
    return sha256(Path(found.origin).read_bytes()).hexdigest() if found and found.origin else ""
