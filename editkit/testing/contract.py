"""What the contracts share: a clause is a function whose docstring is the promise; the first broken one is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from editkit.components.choice import Choice, validate_options
from editkit.components.host import Host
from editkit.components.spec import Spec
from editkit.components.spec_types import check_spec
from editkit.errors import EditkitError, one_line

Given = Mapping[str, object]
"""Options by name."""
DEFAULTS: Given = MappingProxyType({})

AnyCase = TypeVar("AnyCase")


class ContractError(EditkitError):
    """A clause of its contract that a component breaks: the clause with what was found, then what it promises."""


class UncheckedError(EditkitError):
    """A component says that it cannot work here, so nothing of it could be checked: its own words."""


class BreachError(Exception):
    """What a clause found."""


def require(holds: bool, found: str) -> None:
    """Raise what was found unless a promise holds."""
    if not holds:
        raise BreachError(found)


def hold(who: str, clauses: Sequence[Callable[[AnyCase], None]], case: AnyCase, *, place: str = "") -> None:
    """Call clauses one after the other.

    Args:
        who: "Scorer 'louder'".
        place: on what it was tried, after a blank: " on FOLDER".

    Raises:
        ContractError: names the first clause that is broken, and what was found.
    """
    for clause in clauses:
        try:
            clause(case)
        except Exception as error:  # a component's own code and its libraries raise what they like
            found = str(error) if isinstance(error, BreachError) else one_line(error)
            name, promise = clause.__name__.replace("_", " "), " ".join((clause.__doc__ or "").split())
            raise ContractError(f"{who} breaks '{name}'{place}: {found}", promise) from error


def chosen(kind: type[Spec], component: str | Spec, options: Given, host: Host) -> Choice:
    """Return a component with options, by its name or by a spec that may be registered nowhere.

    Raises:
        PluginError: there is no such component, or its spec has a field of another type.
        RecipeError: it has no such option, or does not accept a value.
    """
    if isinstance(component, str):
        return host.choose(kind, component, options, kind.kind)
    plugin = next((held.plugin for held in host.everything if held.spec is component), component.target.split(":")[0])
    check_spec(component, plugin)
    return Choice(component.name, component, validate_options(component.options, options, kind.kind), plugin)


def build(choice: Choice) -> Any:
    """Return a new object of the component each time, so that one does not know what another was asked."""
    return choice.spec.load()(choice.options)


def called(choice: Choice) -> str:
    """Return what errors call a component: "Scorer 'louder'"."""
    return f"{choice.spec.kind.capitalize()} '{choice.name}'"


def refusal(attempt: Callable[[], object]) -> EditkitError | None:
    """Return why a component says that it cannot work here; None: it can, or fails without saying why."""
    try:
        attempt()
    except EditkitError as error:
        return error
    return None


def require_here(refused: EditkitError | None) -> None:
    """Raise what a component said of why it cannot work here.

    Raises:
        UncheckedError: it said something.
    """
    if refused is not None:
        raise UncheckedError(refused.problem, refused.remedy) from refused


@contextmanager
def unchanged(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Require that what happens inside leaves tensors as they are; their names say which did not stay so."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        require(torch.equal(tensor, before[name]), f"{name} changed")
