"""Every component that is installed keeps the contract of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from editkit.components.load import default_host
from editkit.components.specs import ManipulatorSpec, ScorerSpec, SelectorSpec, Spec
from editkit.testing import check_manipulator, check_scorer, check_selector

CHECKS: Mapping[type[Spec], Callable[..., None]] = {
    ScorerSpec: check_scorer,
    SelectorSpec: check_selector,
    ManipulatorSpec: check_manipulator,
}
HAVE_TO_BE_GIVEN: Mapping[str, Mapping[str, Any]] = {
    "threshold": {"above": 0.5},
    "matched": {"selector": "topk", "fraction": 0.1},
    "blend": {"model": "another checkpoint"},
}
OTHERWISE = (
    ("uwm", {"aggregation": "means", "prior": "both"}),
    ("gradient", {"loss": "g-safe-clip", "loss_batch": 4}),
    ("gradient", {"target": "same-modal"}),
    ("wanda", {"side": "safe"}),
    ("neuron-ratio", {"importance": "rms"}),
    ("neuron-ratio", {"importance": "std"}),
    ("snip", {"side": "safe", "loss": "g-unsafe"}),
    ("salun", {"side": "safe"}),
    ("topk", {"per": "row", "fraction": 0.2}),
    ("units", {"axis": "outputs", "pool": "max"}),
    ("blend", {"model": "another checkpoint", "amount": 0.5}),
    ("redirect", {"order": "sequential", "null_space": 0.2}),
    ("refuse", {"direction": "least-energy"}),
)
"""Options that take another path through a component."""


def cases() -> list[tuple[type[Spec], str, Mapping[str, Any]]]:
    host = default_host()
    found = [(kind, name, HAVE_TO_BE_GIVEN.get(name, {})) for kind in CHECKS for name in host.of_kind(kind)]
    kinds = {name: kind for kind, name, _ in found}
    return found + [(kinds[name], name, options) for name, options in OTHERWISE]


@pytest.mark.parametrize(("kind", "name", "options"), cases())
def test_a_component_keeps_its_contract(kind: type[Spec], name: str, options: Mapping[str, Any]) -> None:
    CHECKS[kind](name, options)
