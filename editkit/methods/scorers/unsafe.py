"""Saliency on unsafe inputs alone: UWM's ablation without the safe side (WACV 2026, supplement; Eqs. 8 and 9).

score = Phi_unsafe, times |W| in the text tower
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.site import Site
from editkit.methods.scorers.options import PriorOptions
from editkit.methods.scorers.pairs import Factors, PairScorer, apply_prior, saliency


class Unsafe(PairScorer[PriorOptions]):
    """Mean unsafe saliency. Columns are left out of a pair as in `uwm`, so that the three compare like with like."""

    def factors(self, weight: Tensor, safe: Inputs, unsafe: Inputs) -> Mapping[str, Factors]:
        """Return unsafe saliency."""
        return {"unsafe": saliency(weight.abs(), unsafe)}

    def combine(self, means: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
        """Return the mean, with the prior."""
        return apply_prior(means["unsafe"], weight, site, self.options)
