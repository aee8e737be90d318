"""Unsafe saliency minus safe saliency: UWM's ablation of the ratio (WACV 2026, supplement; Eqs. 8 and 9).

    score = Phi_unsafe - Phi_safe, times |W| in the text tower

Scores are signed; the `adaptive` selector counts only what is positive.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.site import Site
from editkit.methods.scorers.options import PriorOptions
from editkit.methods.scorers.pairs import Factors, PairScorer, apply_prior, saliency


class Difference(PairScorer[PriorOptions]):
    """Mean unsafe saliency minus mean safe saliency."""

    def factors(self, weight: Tensor, safe: Inputs, unsafe: Inputs) -> Mapping[str, Factors]:
        """Return safe and unsafe saliency."""
        magnitude = weight.abs()
        return {"safe": saliency(magnitude, safe), "unsafe": saliency(magnitude, unsafe)}

    def combine(self, means: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
        """Return the difference of the means, with the prior."""
        return apply_prior(means["unsafe"] - means["safe"], weight, site, self.options)
