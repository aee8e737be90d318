"""Multiply the selected weights by a constant (WACV 2026, Eq. 11).

theta' = alpha theta on the selection       negate: alpha -1       zero: alpha 0
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.spec import NoOptions
from editkit.methods.manipulators.options import ScaleOptions


class Scale:
    """Scale by `alpha`; biases are left alone."""

    def __init__(self, options: ScaleOptions) -> None:
        self.alpha = options.alpha

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], scaled where `mask` is set, rounded once to its own dtype."""
        wide = weight if weight.dtype == torch.float64 else weight.float()
        return {"weight": torch.where(mask, (wide * self.alpha).to(weight.dtype), weight)}


class Negate(Scale):
    """Flip the sign of selected weights."""

    def __init__(self, options: NoOptions) -> None:
        self.alpha = -1.0


class Zero(Scale):
    """Set selected weights to zero, as pruning does."""

    def __init__(self, options: NoOptions) -> None:
        self.alpha = 0.0
