"""Gradient saliency of one side of the pairs (SalUn, ICLR 2024, Eq. 3).

    score = |mean over the side's samples of dl/dW|, with l the loss of one sample

Unlike `gradient`, the magnitude is taken of the whole mean, so samples that pull a weight both ways cancel, and the
batches in which the mean is computed do not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import LossEmbeddings, State
from editkit.components.site import Site, Tower
from editkit.methods.scorers.losses import sample_loss
from editkit.methods.scorers.options import SideLossOptions


class Salun:
    """How strongly one side's mean loss depends on a weight."""

    def __init__(self, options: SideLossOptions) -> None:
        self.options = options

    def loss_batch(self, tower: Tower) -> None:
        """Return None: the loss is a mean of single tuples'."""

    def loss(self, embedded: LossEmbeddings) -> Tensor:
        """Return the scalar mean of the side's B sample losses."""
        safe, unsafe = embedded.other_safe, embedded.other_unsafe
        if self.options.side == "safe":
            return sample_loss(self.options.loss, embedded.own_safe, safe, unsafe).mean()
        return sample_loss(self.options.loss, embedded.own_unsafe, unsafe, safe).mean()

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no tuples."""
        return {"tuples": weight.new_zeros(()), "sum": torch.zeros_like(weight)}

    def update(self, state: State, weight: Tensor, gradient: Tensor, tuples: int) -> None:
        """Add the gradient [O, I] of a mean over `tuples` tuples."""
        state["tuples"] += tuples
        state["sum"].add_(gradient, alpha=tuples)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the magnitude of the mean, [O, I]."""
        return (state["sum"] / state["tuples"].clamp(min=1)).abs()
