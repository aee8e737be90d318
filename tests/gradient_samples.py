"""Gradients drawn at random, and what a scorer makes of them, as the engine gives them to it."""

from __future__ import annotations

from typing import Any

import torch
from pair_samples import site_of
from torch import Tensor

BATCHED = ["gradient", "salun"]
SAMPLED = ["snip", "fisher-ratio"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batched(made: Any, weight: Tensor, batches: list[tuple[Tensor, int]]) -> Tensor:
    """The scores of gradients [O, I] of losses over so many tuples."""
    state = made.start(weight, site_of(weight))
    for gradient, tuples in batches:
        made.update(state, weight, gradient, tuples)
    found: Tensor = made.finish(state, weight, site_of(weight))
    return found


def sampled(made: Any, weight: Tensor, safe: list[Tensor], unsafe: list[Tensor]) -> Tensor:
    """The scores of chunks [n, O, I] of single samples' gradients, as the engine gives them to a scorer."""
    state = made.start(weight, site_of(weight))
    for side, chunks in (("safe", safe), ("unsafe", unsafe)):
        for chunk in chunks if side in made.sides else ():
            made.update(state, weight, side, chunk)
    found: Tensor = made.finish(state, weight, site_of(weight))
    return found
