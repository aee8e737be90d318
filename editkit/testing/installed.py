"""Installed components, each held to its contract as far as that needs no options, no model and no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from editkit.components.build import try_out
from editkit.components.choice import validate_options
from editkit.components.host import Component, Host
from editkit.components.specs import (
    AdapterSpec,
    DatasetSpec,
    EvalSpec,
    JudgeSpec,
    ManipulatorSpec,
    ScorerSpec,
    SelectorSpec,
)
from editkit.errors import EditkitError, InstallError, PluginError, RecipeError, did_you_mean
from editkit.testing.adapter_contract import check_adapter
from editkit.testing.contract import UncheckedError
from editkit.testing.dataset_contract import check_dataset
from editkit.testing.eval_contract import check_eval
from editkit.testing.judge_contract import check_judge
from editkit.testing.manipulator_contract import check_manipulator
from editkit.testing.scorer_contract import check_scorer
from editkit.testing.selector_contract import check_selector

CHECKS: Mapping[str, Callable[..., None]] = {
    ScorerSpec.kind: check_scorer,
    SelectorSpec.kind: check_selector,
    ManipulatorSpec.kind: check_manipulator,
    DatasetSpec.kind: check_dataset,
    EvalSpec.kind: check_eval,
    JudgeSpec.kind: check_judge,
}


@dataclass
class Outcome:
    """What became of components, by kind and full name, and of plugins that cannot be loaded, by theirs."""

    kept: list[str] = field(default_factory=list)
    """Those that keep their contract."""
    partly: dict[str, str] = field(default_factory=dict)
    """Those that have the methods of their kind, and why no more of them could be checked."""
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong."""


def check_installed(host: Host, names: Collection[str] = ()) -> Outcome:
    """Hold components to the contracts of their kinds.

    Args:
        names: of plugins, or of components, with or without their plugins'; none: everything.

    Raises:
        PluginError: nothing is called by one of the names.
    """
    asked = [component for component in host.everything if not names or not _names(component).isdisjoint(names)]
    failures = {plugin: why for plugin, why in host.failures.items() if not names or plugin in names}
    known = {name for component in host.everything for name in _names(component)} | set(host.failures)
    for name in names:
        if name not in known:
            raise PluginError(
                f"No plugin or component is called '{name}'.{did_you_mean(name, known)}",
                "List them with `editkit plugins list`.",
            )
    outcome = Outcome(problems=failures)
    for component in asked:
        name = f"{component.spec.kind} {component.full_name}"
        try:
            why = check_component(component, host)
        except InstallError:  # no torch, or one that does not fit the rest: no component's fault, and told once
            raise
        except EditkitError as error:
            outcome.problems[name] = str(error).replace("\n", " ")
        else:
            outcome.partly.update({name: why} if why else {})
            outcome.kept.extend([] if why else [name])
    return outcome


def check_component(component: Component, host: Host) -> str:
    """Build a component and hold it to its contract, with default options; an adapter on the model that it brings.

    Returns:
        Why its contract was not checked; empty: it was, and it keeps it.

    Raises:
        ContractError: it breaks it.
        PluginError: it cannot be built, lacks a method, or asks for what there is not.
    """
    spec = component.spec
    try_out(spec, component.plugin)
    if isinstance(spec, AdapterSpec):
        if spec.folder is None:
            return "It brings no model: use editkit.testing.check_adapter."
        check_adapter(component.full_name, spec.prefixes[0], host=host)
        return ""
    try:
        validate_options(spec.options, {}, spec.kind)
    except RecipeError as error:  # some have to be given
        return error.problem
    try:
        with _offline():
            CHECKS[spec.kind](spec, host=host)
    except UncheckedError as error:
        return error.problem
    return ""


def _names(component: Component) -> set[str]:
    return {component.plugin, component.spec.name, component.full_name}


@contextmanager
def _offline() -> Iterator[None]:
    """Keep model libraries from downloading what a component asks for by default."""
    name = "HF_HUB_OFFLINE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
