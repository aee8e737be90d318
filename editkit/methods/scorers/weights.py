"""Scorers that look at no data: the controls every edit is measured against.

magnitude: score = |W|            random: score ~ U(0, 1), one seeded draw per site
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.components.spec import NoOptions
from editkit.methods.scorers.options import RandomOptions


class WeightScorer:
    """A scorer that ignores its inputs."""

    def start(self, weight: Tensor, site: Site) -> State:
        """Return no sums."""
        return {}

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        """Ignore the pairs."""


class Magnitude(WeightScorer):
    """The absolute weight (Han et al., 2015)."""

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return |W|, [O, I]."""
        return weight.abs()


class Random(WeightScorer):
    """Chance: the same draw for a site whatever else is edited, and on every device."""

    def __init__(self, options: RandomOptions) -> None:
        self.options = options

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return uniform scores, [O, I], drawn on the CPU."""
        name = f"{self.options.seed}:{site.key}:{site.rows}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
        draw = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed))
        return draw.to(weight.device)
