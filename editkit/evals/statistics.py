"""How sure a rate or a difference is. Pure functions of per-item hits; proportions in [0, 1], reported in per cent."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from editkit.errors import DataError
from editkit.evals.embeddings import Bools
from editkit.reports.schema import Difference, Rate

RESAMPLES = 2000
"""Of every bootstrap."""


def rate_of(count: float, n: float) -> Rate:
    """Return the rate of `count` hits among n items in per cent, with Wilson's interval."""
    low, high = wilson(count, n)
    return Rate(value=100 * count / n, low=100 * low, high=100 * high, n=int(n))


def change_of(before: Bools, after: Bools, *, seed: int = 0) -> Difference:
    """[n], [n] bool -> the difference of their rates in points, its paired bootstrap interval and McNemar's exact p."""
    gained = int(np.count_nonzero(after)) - int(np.count_nonzero(before))
    low, high = paired_bootstrap(before, after, seed=seed)
    return Difference(value=100 * gained / len(before), low=100 * low, high=100 * high, p=mcnemar(before, after))


def wilson(hits: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval (low, high) of the rate `hits / n`; the counts may be effective ones, which are not whole.

    The rates p for which the observed one is not rejected by the score test, |hits/n - p| <= z sqrt(p (1 - p) / n):

        (h + z^2/2  -+  z sqrt(h (n - h) / n + z^2/4)) / (n + z^2)

    Unlike the textbook interval it never leaves [0, 1] and has a width at 0 hits.

    Raises:
        DataError: no items.
    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if n < 1:
        raise DataError("a rate of 0 items has no interval", "Evaluate at least one item.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = hits + z * z / 2
    spread = z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    # Exact ends, where rounding would leave 1e-17 or 0.9999...
    low = 0.0 if hits == 0 else (middle - spread) / (n + z * z)
    high = 1.0 if hits == n else (middle + spread) / (n + z * z)
    return low, high


def mcnemar(base: Bools, other: Bools) -> float:
    """[n], [n] bool -> two-sided exact p that base and other hit equally often on the same items.

    Items on which both agree say nothing. Of the m others, the number k that only one side hits is binomial(m, 1/2)
    if there is no difference, so p = 2 P(K <= min(k, m - k)), at most 1; and 1 where the two never differ.
    The sum runs over logarithms: C(5000, 2500) overflows a float64.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
    (1947), in its exact binomial form.
    """
    lost, gained = _discordant(base, other)
    m, k = lost + gained, min(lost, gained)
    if 2 * k == m:  # also m = 0; the two tails would count the middle twice
        return 1.0
    step = np.arange(1, k + 1, dtype=np.float64)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((m - step + 1) / step))])  # log C(m, 0..k)
    log_p = np.logaddexp.reduce(log_choose) + (1 - m) * math.log(2)
    return float(min(1.0, math.exp(log_p)))


def paired_bootstrap(
    base: Bools, other: Bools, seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[float, float]:
    """[n], [n] bool -> percentile interval (low, high) of mean(other) - mean(base), items resampled in pairs.

    A difference of hits is -1, 0 or +1. Drawing n items with replacement draws each outcome with its share among the
    n items, independently n times, so the three counts of a resample are multinomial(n, shares), exactly; the
    resample's mean is (count(+1) - count(-1)) / n. Drawing the counts costs O(resamples), whatever n is.
    Where no item differs the interval is (0, 0).

    Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    lost, gained = _discordant(base, other)
    n = len(base)
    counts = np.random.default_rng(seed).multinomial(n, [lost / n, gained / n, (n - lost - gained) / n], size=resamples)
    means = (counts[:, 1] - counts[:, 0]) / n  # [resamples]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _discordant(base: Bools, other: Bools) -> tuple[int, int]:
    """The number of items that only base hits, and that only other hits."""
    if base.shape != other.shape or base.ndim != 1 or base.size == 0:
        raise DataError(
            f"hits of shapes {base.shape} and {other.shape} cannot be paired", "Evaluate both models on the same items."
        )
    return int(np.count_nonzero(base & ~other)), int(np.count_nonzero(other & ~base))
