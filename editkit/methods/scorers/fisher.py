"""The ratio of unsafe to safe Fisher information (after Selective Synaptic Dampening, AAAI 2024).

    F     = mean over a side's samples of (dl/dW)^2, the diagonal of the empirical Fisher matrix
    score = F_unsafe / F_safe

SSD compares what is to be forgotten with all data; here each side of the pairs is taken by itself. Sums are float32,
half the memory of float64, so that gradients below 1e-19 count as none: their squares are below its normal numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.methods.scorers.losses import sample_loss
from editkit.methods.scorers.options import SampleLossOptions


class FisherRatio:
    """How much more the unsafe samples' losses depend on a weight than the safe ones' do.

    A weight with no safe information (less than float32's smallest normal number, 1e-38) has no ratio: it scores 0,
    and `notes` counts it.
    """

    sides: tuple[str, ...] = ("safe", "unsafe")

    def __init__(self, options: SampleLossOptions) -> None:
        self.options = options

    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        """Return B losses [B]."""
        return sample_loss(self.options.loss, own, other, other_twin)

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no samples."""
        counts = {f"samples.{side}": weight.new_zeros(()) for side in self.sides}
        return counts | {f"sum.{side}": torch.zeros_like(weight) for side in self.sides}

    def update(self, state: State, weight: Tensor, side: str, gradients: Tensor) -> None:
        """Add the squares of n gradients [n, O, I] of one side."""
        state[f"samples.{side}"] += len(gradients)
        for gradient in gradients:  # one by one: no second [n, O, I], and the same sum however they come in chunks
            state[f"sum.{side}"].addcmul_(gradient, gradient)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the ratios, [O, I]."""
        safe, unsafe = _information(state, "safe"), _information(state, "unsafe")
        ratio = (unsafe / safe).clamp(max=torch.finfo(safe.dtype).max)  # a quotient of extremes overflows
        return torch.where(_undefined(safe), 0, ratio)

    def notes(self, state: State, weight: Tensor) -> dict[str, int]:
        """Count the weights without a ratio."""
        return {"undefined_weights": int(_undefined(_information(state, "safe")).sum())}


def _information(state: State, side: str) -> Tensor:
    return state[f"sum.{side}"] / state[f"samples.{side}"].clamp(min=1)


def _undefined(safe: Tensor) -> Tensor:
    return safe < torch.finfo(safe.dtype).tiny
