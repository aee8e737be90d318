"""Scores of a whole tower for the tests of selectors that look across sites, and their masks by a selector's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from editkit.components.choice import validate_options
from editkit.components.load import default_host
from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.components.specs import SelectorSpec

Scores = Mapping[Site, Tensor]
KINDS = ("smooth", "few values", "constant")


def site_of(layer: int, shape: tuple[int, int]) -> Site:
    return Site("text", layer, "mlp.out", "m", f"{layer}.weight", shape)


def tower_of(*rows: list[list[float]]) -> dict[Site, Tensor]:
    """Sites with the scores given, in this order."""
    scores = [torch.tensor(values) for values in rows]
    return {site_of(layer, (len(values), values.shape[1])): values for layer, values in enumerate(scores)}


def draw_like(shape: tuple[int, int], seed: int, kind: str, sign: str = "positive") -> Tensor:
    """[O, I] scores of a kind that has no ties, many, or nothing but; no site of them is all zero."""
    random = np.random.default_rng(seed)
    values = {
        "smooth": random.lognormal(0, 2, shape),
        "few values": random.integers(0, 3, shape).astype(float),
        "constant": np.full(shape, 2.0),
    }[kind]
    values.flat[random.integers(values.size)] = 2
    return torch.tensor(values * (random.choice([-1, 1], shape) if sign == "signed" else 1), dtype=torch.float32)


@st.composite
def towers(draw: st.DrawFn, most: int = 4) -> dict[Site, Tensor]:
    """One to four sites of any shapes, one row and one column among them, with scores of one kind, maybe signed."""
    kind, sign = draw(st.sampled_from(KINDS)), draw(st.sampled_from(["positive", "signed"]))
    sizes = st.integers(1, 6)
    shapes = draw(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=most))
    seed = draw(st.integers(0, 2**20))
    return {site_of(n, shape): draw_like(shape, seed + n, kind, sign) for n, shape in enumerate(shapes)}


def masks_by(name: str, scores: Scores, other: Scores | None = None, **options: Any) -> dict[Site, Tensor]:
    """Run a registered selector; `other` are the scores that it asks for under the label "other"."""
    spec = default_host().resolve(SelectorSpec, name)
    made = spec.load()(validate_options(spec.options, options, "selector"))
    return dict(made.select(scores, SelectionContext(other_scores={} if other is None else {"other": other})))


def counts(masks: Mapping[Site, Tensor]) -> list[int]:
    return [int(mask.sum()) for mask in masks.values()]


def within(smaller: Mapping[Site, Tensor], larger: Mapping[Site, Tensor]) -> bool:
    """Whether every weight that the first selects is selected by the second."""
    assert smaller.keys() == larger.keys()
    return not any((smaller[site] & ~larger[site]).any() for site in smaller)
