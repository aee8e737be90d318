"""Connection sensitivity (SNIP, ICLR 2019), of every sample alone.

    score = mean over the side's samples of |W * dl/dW|, with l the loss of one sample

|W * dl/dW| is what removing the weight changes in l, to first order. SNIP takes it of one batch's mean loss; of single
samples, those that pull both ways do not cancel. Its division by the sum over weights would change no ranking.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.methods.scorers.losses import sample_loss
from editkit.methods.scorers.options import SideLossOptions


class Snip:
    """How much one side's losses would change without a weight."""

    def __init__(self, options: SideLossOptions) -> None:
        self.options = options
        self.sides: tuple[str, ...] = (options.side,)

    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        """Return B losses [B]."""
        return sample_loss(self.options.loss, own, other, other_twin)

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no samples."""
        return {"samples": weight.new_zeros(()), "sum": torch.zeros_like(weight)}

    def update(self, state: State, weight: Tensor, side: str, gradients: Tensor) -> None:
        """Add the magnitudes of n gradients [n, O, I]."""
        state["samples"] += len(gradients)
        for gradient in gradients:  # one by one: no second [n, O, I], and the same sum however they come in chunks
            state["sum"] += gradient.abs()

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the mean over samples, [O, I]."""
        return weight.abs() * (state["sum"] / state["samples"].clamp(min=1))
