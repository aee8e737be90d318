"""A weight with inputs on pairs, every scorer of pairs, and their scores of several batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.load import default_host
from editkit.components.site import Site
from editkit.components.specs import ScorerSpec

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("uwm", {"aggregation": "pairs"}),
    ("uwm", {"aggregation": "means"}),
    ("difference", {}),
    ("unsafe", {}),
]
EVERY_METHOD = pytest.mark.parametrize(("name", "options"), METHODS, ids=["pairs", "means", "difference", "unsafe"])
Pairs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def pairs(*, seed: int = 0, b: int = 4, t: int = 5, t_u: int = 7, o: int = 3, i: int = 6) -> Pairs:
    """A weight, and inputs on B pairs: offsets differ by channel, masks end early, padding holds garbage."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(o, i, generator=draw)
    sides: list[Tensor] = []
    for tokens in (t, t_u):
        x = torch.randn(b, tokens, i, generator=draw) + torch.randn(i, generator=draw)
        lengths = torch.randint(2, tokens + 1, (b,), generator=draw)
        mask = torch.arange(tokens) < lengths[:, None]
        sides += [torch.where(mask[:, :, None], x, 1e6), mask]
    return (weight, *sides)  # type: ignore[return-value]


def scorer(name: str, **options: Any) -> Any:
    spec = default_host().resolve(ScorerSpec, name)
    return spec.load()(spec.options(**options))


def site_of(weight: Tensor, tower: Any = "vision", key: str = "layer.weight") -> Site:
    return Site(tower, 0, "mlp.out", "layer", key, (weight.shape[0], weight.shape[1]))


def run(made: Any, weight: Tensor, batches: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Any]:
    """Scores and notes of several batches, as the engine asks for them."""
    state = made.start(weight, site_of(weight))
    for safe, safe_mask, unsafe, unsafe_mask in batches:
        made.update(state, weight, Inputs(safe, safe_mask), Inputs(unsafe, unsafe_mask))
    return made.finish(state, weight, site_of(weight)), made.notes(state, weight)


def clean(**kwargs: int) -> tuple[Tensor, list[Tensor]]:
    """A weight and pairs with every token real."""
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs(**kwargs)
    draw = torch.Generator().manual_seed(99)
    safe, unsafe = torch.randn(safe.shape, generator=draw), torch.randn(unsafe.shape, generator=draw)
    return weight, [safe, torch.ones_like(safe_mask), unsafe, torch.ones_like(unsafe_mask)]
