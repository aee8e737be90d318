"""What tests of contracts share: a component that breaks one clause, and the error that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from editkit.components.spec import Spec
from editkit.testing import ContractError


@dataclass(frozen=True)
class Broken:
    """A component, what its spec says beside, the clause that it breaks, and what is found."""

    component: type
    clause: str
    found: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.component.__name__


def spec_of(kind: type[Spec], component: type, **fields: Any) -> Any:
    """The spec of a class of a test, registered nowhere."""
    target = f"{component.__module__}:{component.__qualname__}"
    return kind(name="sample", summary="for a test", target=target, **fields)


def assert_told(check: Callable[..., None], kind: type[Spec], broken: Broken, *given: Any) -> None:
    """Require that a check names just the clause that is broken, what was found, and what is promised."""
    with pytest.raises(ContractError) as caught:
        check(spec_of(kind, broken.component, **broken.fields), *given)
    assert caught.value.problem.startswith(f"{kind.kind.capitalize()} 'sample' breaks '{broken.clause}': ")
    assert broken.found in caught.value.problem
    assert caught.value.remedy.endswith(".") and str(caught.value).count("\n") == 1


def clauses_of(functions: Iterable[Callable[..., None]]) -> set[str]:
    """The names of clauses, as errors give them."""
    return {function.__name__.replace("_", " ") for function in functions}


def ids(broken: Broken) -> str:
    return broken.name
