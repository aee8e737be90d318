"""Gradient magnitude: G-Unsafe and G-Safe-CLIP, the baselines of UWM (WACV 2026, supplement A.3).

    score = mean over tuples of |dL/dW|, with L the loss of the batch that a tuple is in

The released code takes the mean over batches. Weighing every batch by its tuples is the same where all are full,
and keeps a short last one from counting too much.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import LossEmbeddings, State
from editkit.components.site import Site, Tower
from editkit.methods.scorers.losses import g_safe_clip, g_unsafe
from editkit.methods.scorers.options import LOSS_BATCH, GradientOptions


class Gradient:
    """How strongly the batches' losses depend on a weight, whatever the direction."""

    def __init__(self, options: GradientOptions) -> None:
        self.options = options

    def loss_batch(self, tower: Tower) -> int:
        """Return how many tuples one loss is taken over: part of the score, since g-safe-clip contrasts them."""
        return self.options.loss_batch or LOSS_BATCH[tower]

    def loss(self, embedded: LossEmbeddings) -> Tensor:
        """Return the scalar loss of B tuples."""
        if self.options.loss == "g-safe-clip":
            return g_safe_clip(embedded)
        return g_unsafe(embedded, target=self.options.target or "cross-modal")

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no tuples."""
        return {"tuples": weight.new_zeros(()), "sum": torch.zeros_like(weight)}

    def update(self, state: State, weight: Tensor, gradient: Tensor, tuples: int) -> None:
        """Add the magnitude of one batch's gradient [O, I], once for each of its tuples."""
        state["tuples"] += tuples
        state["sum"].add_(gradient.abs(), alpha=tuples)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the mean over tuples, [O, I]."""
        return state["sum"] / state["tuples"].clamp(min=1)
