"""Means of hits in which items weigh differently: how large, how sure, and how far from the base's.

A mean over classes, and a mean over data sets, is a weighted mean of single hits: sum_i w_i h_i with sum_i w_i = 1.
Items that are the same image with the same label cannot differ, so they count as one item that weighs as much as all
of them: DTD's 18,800 test images of ten partitions are of 5,640 at most. With equal weights and no repeats each number
here is that of a plain rate.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from editkit.evals.embeddings import Bools, Integers
from editkit.evals.statistics import difference_of, rate_of
from editkit.reports.facts import LEVEL
from editkit.reports.schema import Difference, Rate

ItemWeights = npt.NDArray[np.float64]

FLIPS = 10_000
_SLACK = 1e-9  # sums of the same weights in another order are the same sum


def effective_items(weights: ItemWeights, same: Integers) -> float:
    """[n], [n] -> (sum of weights)^2 / sum of squared weights, repeated items taken together.

    Args:
        same: equal numbers, from 0, for items that are repeats of each other.

    Source: L. Kish, Survey Sampling (1965), section 11.2.
    """
    together = np.bincount(same, weights)
    return max(1.0, float(together.sum() ** 2 / (together**2).sum()))


def weighted_rate(hits: Bools, weights: ItemWeights, same: Integers) -> Rate:
    """[n] each -> the weighted mean of hits in per cent, with Wilson's interval of as many items as are effective.

    The interval leaves out that classes are fixed strata: where their accuracies differ much it is a little too wide.
    """
    share = float((weights * hits).sum() / weights.sum())
    n = effective_items(weights, same)
    rate = rate_of(share * n, n)
    rate["value"], rate["n"] = 100 * share, len(hits)  # of all items: the effective ones decide the interval alone
    return rate


def weighted_change(base: Bools, other: Bools, weights: ItemWeights, same: Integers, seed: int = 0) -> Difference:
    """[n] each -> the weighted mean of other - base in points, its interval, and p.

    With y_j the weighted differences of the m distinct items, which sum to the change, the interval is Tango's for
    gained and lost items of equal weight that have the same sum and the same sum of squares as the y_j, among as many
    as are effective. p is that of the sign-flip test: if the two models were exchangeable, each y_j would as soon have
    the other sign. Flips as far out as the observed ones count half, so it is McNemar's mid-p where weights are equal.

    Source: R. A. Fisher, The Design of Experiments (1935).
    """
    signed = weights / weights.sum() * (other.astype(np.float64) - base)
    differences: ItemWeights = np.bincount(same, signed).astype(np.float64)
    value, squares = float(differences.sum()), float((differences**2).sum())
    n = max(effective_items(weights, same), abs(value) / squares if squares else 0.0)
    differing, net = squares * n * n, value * n
    gained, lost = (max(0.0, (differing + sign * net) / 2) for sign in (1, -1))  # -1e-17 is 0
    p = _sign_flips(differences, np.random.default_rng(seed))
    found = difference_of(gained, lost, n, p)
    found["value"] = 100 * value
    if p < LEVEL and found["low"] <= 0 <= found["high"]:  # few and unequal weights: the more careful of the two decides
        found["p"] = math.erfc(abs(net) / math.sqrt(2 * differing))
    return found


def _sign_flips(differences: ItemWeights, rng: np.random.Generator) -> float:
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not sizes.size:
        return 1.0
    ups = rng.binomial(counts, 0.5, size=(FLIPS, len(sizes)))  # how many of each size keep their sign
    sums, observed = np.abs((2 * ups - counts) @ sizes), abs(differences.sum())
    farther = np.count_nonzero(sums > observed * (1 + _SLACK))
    as_far = np.count_nonzero(sums >= observed * (1 - _SLACK)) - farther
    return float((0.5 + farther + as_far / 2) / (1 + FLIPS)) if observed > _SLACK * sizes[0] else 1.0
