"""The smallest set of top weights that holds a share tau of a site's score mass (WACV 2026, Eq. 11).

    sort ascending, C = cumulative sum / sum, select where C > 1 - tau

Eq. 11 read literally compares single scores with 1 - tau and selects nothing; the released code does the above.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editkit.errors import ScoreError
from editkit.methods.selectors.options import AdaptiveOptions
from editkit.methods.selectors.per_site import per_site, top


@per_site
def adaptive(scores: Tensor, options: AdaptiveOptions) -> Tensor:
    """Select the top weights of one site that hold `tau` of its positive score mass; negative scores count as 0."""
    # float64: the sums decide, and in float32 they would differ between CPU and GPU
    mass = scores.flatten().double().clamp(min=0)  # [n]
    total = mass.sum()
    if total == 0:
        raise ScoreError(
            "No score of a site is positive, so no weight holds any score mass.",
            "Use the `topk` selector, which ranks signed scores.",
        )
    # the top k hold at least k / n of the mass, so tau is reached within ceil(tau n) + 1 of them: no full sort
    limit = min(len(mass), math.ceil(options.tau * len(mass)) + 1)
    highest = torch.topk(mass, limit).values
    above = highest.cumsum(0).roll(1)  # mass of what is ranked before each; C > 1 - tau is: above < tau * total
    above[0] = 0
    count = int((above < options.tau * total).sum())
    return top(mass, count).view_as(scores)
