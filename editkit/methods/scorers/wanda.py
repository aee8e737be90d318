"""Pruning by weights and activations (Sun et al., ICLR 2024), Eq. 1: |W| times the norm of the input it multiplies.

    wanda         score[o, i] = |W_oi| ||X_i||                   X: the inputs of one side, all real tokens pooled
    wanda-ratio   score[o, i] = |W_oi| ||X_u,i|| / ||X_s,i||     unsafe over safe inputs

Wanda prunes the lowest scores within each output row; here the highest are edited, in a row with `topk` and `per: row`.
"""

from __future__ import annotations

from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.components.spec import NoOptions
from editkit.methods.scorers.pooled import RatioScorer, SideScorer, squares


class Wanda(SideScorer):
    """The absolute weight times its input's norm."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return |W| ||X||, [O, I]."""
        return weight.abs() * self.norms(state, weight)


class WandaRatio(RatioScorer[NoOptions]):
    """The absolute weight times the ratio of its input's norms; 0 where the safe norm is 0."""

    def sums_of(self, inputs: Inputs) -> State:
        """Return the sum of squares."""
        return {"squares": squares(inputs)}

    def importance(self, sums: State) -> Tensor:
        """Return the norm."""
        return sums["squares"].sqrt()

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return |W| ||X_u|| / ||X_s||, [O, I]."""
        return weight.abs() * self.ratio(state, weight)
