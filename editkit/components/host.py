"""Find plugins, keep a broken one from hurting the others, and resolve components by name.

Each entry point loads in its own `try`, each hook is called on one plugin at a time, and a
plugin that fails is left out whole: what remains works, and asking for what it would have
brought gives its error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from editkit.components.admission import require_api, require_hooks
from editkit.components.build import build
from editkit.components.choice import Choice, validate_options
from editkit.components.code import Code, Codebase
from editkit.components.spec import Spec
from editkit.components.spec_types import check_spec
from editkit.components.specs import KINDS, AdapterSpec
from editkit.errors import EditkitError, PluginError, did_you_mean, one_line

if TYPE_CHECKING:
    from editkit.components.protocols import Adapter

BUILT_IN = "editkit"
OBSERVER = "editkit_finished"
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
    left_out: list[str] = field(default_factory=list)
    """Installed plugins that EDITKIT_PLUGINS does not name."""
    registered: list[tuple[str, object]] = field(default_factory=list)
    code: Codebase = field(default_factory=Codebase)
    adapters: list[tuple[AdapterSpec, Adapter]] = field(default_factory=list)
    """Those that were built, each once: they keep nothing of a model."""

    @property
    def loaded(self) -> list[str]:
        """The names of the plugins that work."""
        return list(dict.fromkeys(plugin for plugin, _ in self.registered))

    def fail(self, plugin: str, error: BaseException, beside: str = "") -> None:
        """Record, on one line, why a plugin or one entry point of it is left out; `beside` says what else is known."""
        why = " ".join(str(error).split()) if isinstance(error, EditkitError) else one_line(error)
        why += f" ({beside})" if beside else ""
        self.failures[plugin] = f"{self.failures[plugin]}; {why}" if plugin in self.failures else why

    def register(self, plugin: str, implementation: object) -> None:
        """Register a plugin's components, or, where any hook fails, record why and leave the plugin out."""
        twice = self.manager.is_registered(implementation)
        try:
            require_api(plugin, implementation)
            require_hooks(plugin, implementation, {*HOOKS.values(), OBSERVER})
            self.manager.register(implementation)  # by its own name: a distribution may have several entry points
            found = [Component(spec, plugin) for spec in self._collect(plugin, implementation)]
        except (Exception, SystemExit) as error:  # a third party's code: whatever it raises is its own failure
            if self.manager.is_registered(implementation) and not twice:
                self.manager.unregister(implementation)
            self.fail(plugin, error)
            return
        self.registered.append((plugin, implementation))
        self.code.note(plugin, str(getattr(implementation, "__name__", type(implementation).__module__)))
        for component in found:
            self.code.note(plugin, component.spec.target.partition(":")[0])
            key = (component.spec.kind, component.spec.name)
            first = self.components.setdefault(key, component)
            if first is not component:
                self.shadowed.append((first, component))

    def _collect(self, plugin: str, implementation: object) -> Iterator[Spec]:
        others = [other for other in self.manager.get_plugins() if other is not implementation]
        for kind in KINDS:
            caller = self.manager.subset_hook_caller(HOOKS[kind.kind], remove_plugins=others)
            for specs in caller():
                for spec in specs:
                    if not isinstance(spec, kind):
                        raise TypeError(f"{HOOKS[kind.kind]} returned {spec!r}, which is no {kind.__name__}")
                    check_spec(spec, plugin)
                    yield spec

    def of_kind(self, kind: type[AnySpec]) -> dict[str, AnySpec]:
        """Return the specs of one kind by name."""
        return {
            name: component.spec
            for (kind_name, name), component in self.components.items()
            if kind_name == kind.kind and isinstance(component.spec, kind)
        }

    @property
    def everything(self) -> list[Component]:
        """Every component, those that are hidden behind another of their name last."""
        return [*self.components.values(), *(hidden for _, hidden in self.shadowed)]

    def resolve(self, kind: type[AnySpec], name: str) -> AnySpec:
        """Return the spec of `name`, or of `distribution/name`.

        Raises:
            PluginError: no plugin offers it; names the closest, and any plugin that failed to load.
        """
        for component in self.everything:
            if isinstance(component.spec, kind) and name in (component.full_name, component.spec.name):
                return component.spec
        known = sorted(self.of_kind(kind))
        broken = "".join(f" Plugin {plugin} could not be loaded ({why})." for plugin, why in self.failures.items())
        raise PluginError(
            f"Unknown {kind.kind} '{name}'.{did_you_mean(name, known)}{broken}",
            f"Choose one of: {', '.join(known) or 'none installed'}; or load the file that brings it: --plugin FILE.py."
            + (" `editkit plugins check` says what is wrong with the plugin." if broken else "")
            + (f" EDITKIT_PLUGINS leaves out {', '.join(self.left_out)}: unset it." if self.left_out else ""),
        )

    def choose(self, kind: type[Spec], name: str, given: Mapping[str, Any], where: str) -> Choice:
        """Return a component with options; `where` is what errors call the place that they were given in.

        Raises:
            PluginError: no plugin offers it.
            RecipeError: it has no such option, or does not accept a value.
        """
        spec = self.resolve(kind, name)
        return Choice(name, spec, validate_options(spec.options, given, where), self.plugin_of(spec))

    def adapter(self, spec: AdapterSpec) -> Adapter:
        """Return a model family's adapter.

        Raises:
            PluginError: it cannot be imported or built, or lacks a method of its protocol.
        """
        for built, adapter in self.adapters:
            if built is spec:
                return adapter
        self.adapters.append((spec, build(spec, self.plugin_of(spec))))
        return self.adapters[-1][1]

    def family_of(self, adapter: Adapter) -> AdapterSpec:
        """Return the spec of an adapter that this host built."""
        return next(spec for spec, built in self.adapters if built is adapter)

    def plugin_of(self, spec: Spec) -> str:
        """Return the distribution, or the file, that registered a spec."""
        return next(component.plugin for component in self.everything if component.spec is spec)

    def origins(self, specs: Iterable[Spec]) -> list[dict[str, Any]]:
        """Return where components come from, for records, each once: distribution, version, digest of its modules."""
        found = []
        for spec in {(spec.kind, spec.name): spec for spec in specs}.values():
            code = self.code.of(self.plugin_of(spec))
            about = {"kind": spec.kind, "name": spec.name, "distribution": code.name, "version": code.version}
            found.append({**about, "digest": code.digest})
        return found

    def code_of(self, spec: Spec) -> tuple[Code, ...]:
        """Return all the code that a component's results can depend on.

        Raises:
            PluginError: the component cannot be imported.
        """
        return self.code.behind(self.plugin_of(spec), spec.target, spec.load())

    def finished(self, record: dict[str, Any], output: Path) -> list[str]:
        """Tell every observer that `output` was written; return one line for each that failed."""
        failed = []
        for plugin, implementation in self.registered:
            others = [other for other in self.manager.get_plugins() if other is not implementation]
            try:
                self.manager.subset_hook_caller(OBSERVER, remove_plugins=others)(record=record, output=output)
            except (Exception, SystemExit) as error:  # an observer must not spoil a finished run
                failed.append(f"Plugin {plugin} failed in editkit_finished: {one_line(error)}")
        return failed
