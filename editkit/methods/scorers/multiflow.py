"""MULTIFLOW (Farina et al., CVPR 2024): |W| times the importance of the output and of the input that it joins.

    score[o, i] = (mean_i' z_i' |W_oi'|) (z_i mean_o' |W_o'i|) |W_oi|

z is the norm of one side's inputs, all real tokens pooled. It grows with the number of samples, for all weights of a
site alike: the ranking does not change. Only the paper's scores are here, not its share of weights per layer.
"""

from __future__ import annotations

from torch import Tensor

from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.methods.scorers.pooled import SideScorer


class Multiflow(SideScorer):
    """The flow through a weight: the product of its magnitude and of both its units' importance."""

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores, [O, I]."""
        magnitude, z = weight.abs(), self.norms(state, weight)
        outputs = magnitude @ z / magnitude.shape[1]  # [O]
        inputs = z * magnitude.mean(dim=0)  # [I]
        return outputs[:, None] * inputs * magnitude
