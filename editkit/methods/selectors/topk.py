"""A fixed share of the weights with the highest scores, in each site or in each row of it.

    k = n - int((1 - fraction) n)

Wanda compares within a row (Sun et al., 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.methods.selectors.options import TopkOptions
from editkit.methods.selectors.per_site import per_site, top


@per_site
def topk(scores: Tensor, options: TopkOptions) -> Tensor:
    """Select exactly k weights of one site, or of each row; of equal scores the higher flat index first."""
    if options.per == "site":
        return top(scores.flatten(), options.count(scores.numel())).view_as(scores)
    count = options.count(scores.shape[1])
    return torch.stack([top(row, count) for row in scores])
