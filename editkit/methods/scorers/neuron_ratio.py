"""Modality-aware neuron pruning (MANU, Liu et al., ACL 2025): an input unit's importance, unsafe over safe.

    score[o, i] = importance_unsafe[i] / importance_safe[i]     for every output o

Over all N real tokens of all samples of a side, the importance of unit i is

    mean   sum |x_i| / N        rms   sqrt(sum x_i^2 / N)        std   sqrt(sum (x_i - mean)^2 / (N - 1))

A unit whose safe importance is 0 scores 0; so does a row of zero weights, through which no unit acts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.methods.scorers.options import NeuronRatioOptions
from editkit.methods.scorers.pooled import RatioScorer, float64, squares


class NeuronRatio(RatioScorer[NeuronRatioOptions]):
    """The ratio of an input unit's importance, the same for every weight that reads it."""

    def sums_of(self, inputs: Inputs) -> State:
        """Return the sums that the option `importance` needs."""
        tokens = {"tokens": float64(inputs.count).sum()}
        if self.options.importance == "mean":
            return {**tokens, "absolute": float64(inputs.absolute).sum(dim=0)}
        if self.options.importance == "rms":
            return {**tokens, "squares": squares(inputs)}
        return {**tokens, **_spread(inputs)}

    def importance(self, sums: State) -> Tensor:
        """Return mean |x|, rms or std."""
        tokens = sums["tokens"].clamp(min=1)
        if self.options.importance == "mean":
            return sums["absolute"] / tokens
        if self.options.importance == "rms":
            return (sums["squares"] / tokens).sqrt()
        return _std(sums)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the ratios, [O, I]."""
        return torch.where(weight.any(dim=1, keepdim=True), self.ratio(state, weight), 0)


def _spread(inputs: Inputs) -> State:
    """Return squared deviations within samples, and what those between samples' means follow from."""
    count, mean = float64(inputs.count), float64(inputs.mean)  # [B, 1], [B, I]
    return {
        "samples": count.new_tensor(float(len(count))),
        "total": (count * mean).sum(dim=0),
        "mean_squares": (count * mean.square()).sum(dim=0),
        "within": ((count - 1).clamp(min=0) * float64(inputs.std).square()).sum(dim=0),
    }


def _std(sums: State) -> Tensor:
    """Return the unbiased standard deviation over all tokens, [I]; exactly 0 for a constant channel."""
    tokens = sums["tokens"].clamp(min=1)
    between = sums["mean_squares"] - sums["total"].square() / tokens
    # Of a constant channel this difference of equal numbers leaves rounding, at most (3 samples + 8) eps / 2 of them:
    # no difference between samples is told apart below that (2e-6 of the mean for 8,192 samples).
    rounding = 2 * (sums["samples"] + 4) * torch.finfo(torch.float64).eps * sums["mean_squares"]
    between = torch.where(between > rounding, between, 0)
    return ((sums["within"] + between) / (tokens - 1).clamp(min=1)).sqrt()
