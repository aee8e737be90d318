"""Move the selected weights towards those of another checkpoint (WiSE-FT, Wortsman et al., CVPR 2022, on a selection).

theta' = (1 - lambda) theta + lambda theta_other on the selection

Beyond 0 and 1 it is task arithmetic (Ilharco et al., ICLR 2023): theta + lambda (theta_other - theta), with a negative
lambda away from what the other checkpoint learnt.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.errors import ModelError
from editkit.methods.manipulators.options import BlendOptions


class Blend:
    """Interpolate with the checkpoint `model`; biases are left alone."""

    def __init__(self, options: BlendOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], blended where `mask` is set.

        Raises:
            ModelError: the other checkpoint's weight has another shape.
        """
        other = context.other_weights[site]
        if other.shape != weight.shape:
            raise ModelError(
                f"{site.name} is {list(weight.shape)} here and {list(other.shape)} in {self.options.model}.",
                "Give a checkpoint of the same architecture as manipulator.model.",
            )
        return {"weight": torch.where(mask, blend(weight, other, amount=self.options.amount), weight)}


def blend(weight: Tensor, other: Tensor, *, amount: float) -> Tensor:
    """Return (1 - amount) weight + amount other in the dtype of `weight`, rounded to it once.

    Args:
        weight: [O, I] in any floating dtype.
        other: [O, I] in any floating dtype, its own.
        amount: 0 gives the bits of `weight`, 1 `other` as that dtype holds it; any other number is as good.
    """
    if amount == 0:
        return weight
    if amount == 1:
        return other.to(weight.dtype)
    wide = torch.promote_types(torch.promote_types(weight.dtype, other.dtype), torch.float32)
    mixed = (1 - amount) * weight.to(wide) + amount * other.to(wide)
    # two rounded products of equal weights may add up to a neighbour of them: a change where there is none
    return torch.where(weight == other, weight, mixed.to(weight.dtype))
