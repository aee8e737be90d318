"""How sure a rate or a difference is. Pure functions of per-item hits; proportions in [0, 1], reported in per cent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from editkit.errors import DataError
from editkit.evals.embeddings import Bools
from editkit.reports.facts import LEVEL
from editkit.reports.schema import Difference, Rate

RESAMPLES = 2000
"""Of every bootstrap."""
Z95 = NormalDist().inv_cdf(0.975)


def rate_of(count: float, n: float) -> Rate:
    """Return the rate of `count` hits among n items in per cent, with Wilson's interval."""
    low, high = wilson(count, n)
    return Rate(value=100 * count / n, low=100 * low, high=100 * high, n=int(n))


def change_of(before: Bools, after: Bools) -> Difference:
    """[n], [n] bool -> the difference of their rates in points, Tango's interval, and McNemar's mid-p.

    The two agree: where p is not below 0.05 the interval reaches to 0.
    """
    lost, gained = _discordant(before, after)
    return difference_of(gained, lost, len(before), mcnemar(before, after))


def difference_of(gained: float, lost: float, n: float, p: float) -> Difference:
    """Return the difference of two paired rates in points, with Tango's interval, which reaches to 0 unless p < 0.05.

    Args:
        gained: of the n items, how many the second alone hits; counts may be effective ones, which are not whole.
        lost: how many the first alone hits.
    """
    low, high = agreeing(*tango(gained, lost, n), p)
    return Difference(value=100 * (gained - lost) / n, low=100 * low, high=100 * high, p=p)


def agreeing(low: float, high: float, p: float) -> tuple[float, float]:
    """Return the ends of an interval of a difference that reaches to 0 where the test does not exclude it."""
    return (low, high) if p < LEVEL else (min(low, 0.0), max(high, 0.0))


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
    """[n], [n] bool -> two-sided mid-p that base and other hit equally often on the same items.

    Items on which both agree say nothing. Of the m others, the number k that only one side hits is binomial(m, 1/2)
    if there is no difference. With k the smaller of the two, p = 2 P(K < k) + P(K = k): of the observed outcome half
    counts, so that a true null is rejected about as often as 0.05 says, where the exact test rejects far less often.
    1 where both sides are hit alike. The sum runs over logarithms: C(5000, 2500) overflows a float64.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
    (1947); M. W. Fagerland, S. Lydersen and P. Laake, The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional, BMC Medical Research Methodology 13 (2013).
    """
    lost, gained = _discordant(base, other)
    m, k = lost + gained, min(lost, gained)
    if 2 * k == m:  # also m = 0
        return 1.0
    step = np.arange(1, k + 1, dtype=np.float64)
    log_terms = np.concatenate([[0.0], np.cumsum(np.log((m - step + 1) / step))])  # log C(m, 0..k)
    log_terms[:-1] += math.log(2)
    return float(math.exp(np.logaddexp.reduce(log_terms) - m * math.log(2)))


def tango(gained: float, lost: float, n: float) -> tuple[float, float]:
    """Interval (low, high), of 95 %, of the difference of two paired proportions, (gained - lost) / n.

    The differences d that the score test does not reject, |z(d)| <= 1.96:

        z(d) = (gained - lost - n d) / sqrt(n (2 q + d (1 - d)))
        q    = (sqrt(B^2 - 4 A C) - B) / (2 A),  A = 2 n,  B = (2 n - gained + lost) d - gained - lost,
                                                 C = -lost d (1 - d)

    q is the most likely share of lost items if the difference is d. It has a width where nothing differs, and where
    everything does; z(0) is McNemar's statistic. z falls with d, so each end is found by bisection.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17 (1998).
    """

    def z(d: float) -> float:
        a, b, c = 2 * n, (2 * n - gained + lost) * d - gained - lost, -lost * d * (1 - d)
        root = math.sqrt(max(0.0, b * b - 4 * a * c))
        q = (root - b) / (2 * a) if b <= 0 else -2 * c / (root + b)  # the same; no difference of like numbers
        variance = n * (2 * q + d * (1 - d))
        return (gained - lost - n * d) / math.sqrt(variance) if variance > 0 else 0.0

    def end(sign: int) -> float:
        inside, outside = (gained - lost) / n, -float(sign)
        for _ in range(60):
            middle = (inside + outside) / 2
            if sign * z(middle) < Z95:
                inside = middle
            else:
                outside = middle
        return outside

    return end(1), end(-1)


def holm(p: Sequence[float]) -> list[float]:
    """k p-values -> each corrected for being one of k: below 0.05 for any with a probability of 5 % at most.

    In rising order the i-th is multiplied by k - i + 1, and none is smaller than the one before.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6
    (1979).
    """
    corrected, before = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        before = corrected[place] = max(before, min(1.0, (len(p) - rank) * p[place]))
    return corrected


def _discordant(base: Bools, other: Bools) -> tuple[int, int]:
    """The number of items that only base hits, and that only other hits."""
    if base.shape != other.shape or base.ndim != 1 or base.size == 0:
        raise DataError(
            f"hits of shapes {base.shape} and {other.shape} cannot be paired", "Evaluate both models on the same items."
        )
    return int(np.count_nonzero(base & ~other)), int(np.count_nonzero(other & ~base))
