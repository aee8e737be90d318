"""Shrink the selected weights that matter more to unsafe than to safe samples (SSD, Foster et al., AAAI 2024, Eq. 6).

theta' = min(lambda F_s / F_u, 1) theta on the selection       F: mean squared gradient of single samples' losses

SSD's retained and forgotten data are the safe and the unsafe samples here, and the selector says which weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.methods.manipulators.options import DampenOptions


class Dampen:
    """Multiply by `strength` F_s / F_u, at most by 1; biases are left alone."""

    def __init__(self, options: DampenOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], shrunk where `mask` is set, rounded once to its own dtype."""
        wide = weight if weight.dtype == torch.float64 else weight.float()
        factor = dampening(context.other_scores["fisher"][site].to(wide.dtype), strength=self.options.strength)
        return {"weight": torch.where(mask, (wide * factor).to(weight.dtype), weight)}


def dampening(ratio: Tensor, *, strength: float) -> Tensor:
    """Return the factor of each weight, [O, I], above 0 and at most 1.

    Args:
        ratio: [O, I] F_u / F_s; 0 where it is undefined or the weight is of no use to unsafe samples: then 1.
        strength: SSD's lambda.
    """
    return torch.where(ratio > 0, strength / ratio, 1).clamp(max=1)
