"""`adaptive` as the released code reads signed scores: their sum, negative ones included, is the whole.

    sort ascending, C = cumulative sum / sum, select where C > 1 - tau

With scores of both signs the sum is not the mass that is shared out. Where it is small, few weights reach the share;
where it is negative, C rises above 1 early, and most weights are selected. `adaptive` has negative scores hold no mass.
"""

from __future__ import annotations

from torch import Tensor

from editkit.errors import ScoreError
from editkit.methods.selectors.options import AdaptiveOptions
from editkit.methods.selectors.per_site import per_site, top


@per_site
def adaptive_signed(scores: Tensor, options: AdaptiveOptions) -> Tensor:
    """Select the top weights of one site behind which the running share of the signed sum exceeds 1 - tau."""
    values = scores.flatten().double()  # as in `adaptive`, the sums decide
    total = values.sum()
    if total == 0:
        raise ScoreError("The scores of a site sum to 0, so no weight has a share of them.", "Use `adaptive`.")
    share = values.sort().values.cumsum(0) / total
    # C crosses 1 - tau once and stays above: what is selected are the highest scores
    count = int((share > 1 - options.tau).sum())
    return top(values, count).view_as(scores)
