"""What was measured on n captions, and how sure it is: values in per cent (CIDEr and BLEU times 100), with intervals.

A `Share` counts captions, an `Average` is a mean of scores or, like corpus BLEU, a function of sums over captions.
Both know which captions they were measured on: a judge may have failed at some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editkit.evals.embeddings import Bools, Integers
from editkit.evals.statistics import RESAMPLES, agreeing, change_of, rate_of
from editkit.reports.schema import Difference, Rate

Scores = npt.NDArray[np.float64]
Total = Callable[[Scores, int], Scores]
"""[..., k] sums over n captions, and n -> [...] values."""

_CHUNK = 1 << 20  # elements of resampled counts held at once: 8 MiB


def mean(sums: Scores, n: int) -> Scores:
    """[..., 1] sums of scores in [0, 1] -> [...] their mean in per cent."""
    return 100 * sums[..., 0] / n


@dataclass(frozen=True)
class Share:
    """[n] bool: which captions count; `known` [n] bool: of which this is known."""

    hits: Bools
    known: Bools


@dataclass(frozen=True)
class Average:
    """[n, k] statistics of each caption, which `total` turns into a value once they are summed."""

    stats: Scores
    known: Bools
    total: Total = mean

    @classmethod
    def of(cls, scores: npt.ArrayLike) -> Average:
        """Return the mean of [n] scores in [0, 1], NaN where there is none."""
        held = np.asarray(scores, dtype=np.float64)
        known = ~np.isnan(held)
        return cls(np.where(known, held, 0.0)[:, None], known)


Measure = Share | Average


def value(measure: Average) -> float:
    """Return the value over all known captions; there must be one."""
    held = measure.stats[measure.known]
    return float(measure.total(held.sum(axis=0), len(held)))


def rate(measure: Measure, rows: Integers | None = None, *, seed: int = 0) -> Rate | None:
    """Return the value over `rows` (None: all) with its 95 % interval; None where nothing is known of any of them.

    The interval of a share is Wilson's, that of an average a percentile bootstrap over captions.
    """
    known = measure.known if rows is None else _among(measure.known, rows)
    n = int(np.count_nonzero(known))
    if not n:
        return None
    if isinstance(measure, Share):
        return rate_of(int(np.count_nonzero(measure.hits & known)), n)
    held = measure.stats[known]
    drawn = _resampled(held, measure.total, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Rate(value=float(measure.total(held.sum(axis=0), n)), low=float(low), high=float(high), n=n)


def change(base: Measure, other: Measure, *, seed: int = 0) -> Difference | None:
    """Return other minus base on the captions known of both, with an interval and a p.

    Those of a share are `change_of`'s. The interval of an average is the paired bootstrap's, which reaches to 0 unless
    p < 0.05. That p is of a randomization test: if the edit changes nothing, the two captions of an image may as well
    be exchanged, so p is the share of 2,000 random exchanges, the observed one added, that lie as far apart (E. W.
    Noreen, Computer-intensive methods for testing hypotheses, 1989).
    """
    known = base.known & other.known
    n = int(np.count_nonzero(known))
    if not n:
        return None
    if isinstance(base, Share) and isinstance(other, Share):
        return change_of(base.hits[known], other.hits[known])
    assert isinstance(base, Average) and isinstance(other, Average)  # a metric is of one kind
    old, new, total = base.stats[known], other.stats[known], base.total
    observed = float(total(new.sum(axis=0), n) - total(old.sum(axis=0), n))
    # the same seed draws the same captions for both
    drawn = _resampled(new, total, seed) - _resampled(old, total, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = _exchanged(old, new, total, observed, seed)
    low, high = agreeing(float(low), float(high), p)
    return Difference(value=observed, low=low, high=high, p=p)


def _resampled(stats: Scores, total: Total, seed: int) -> Scores:
    """[n, k] -> [RESAMPLES] values of n captions drawn with replacement."""
    n = len(stats)
    draw = np.random.default_rng(seed)
    values = []
    for size in _sizes(n):
        places = draw.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(places.ravel(), minlength=size * n).reshape(size, n)
        values.append(total(counts @ stats, n))
    return np.concatenate(values)


def _exchanged(old: Scores, new: Scores, total: Total, observed: float, seed: int) -> float:
    n = len(old)
    draw = np.random.default_rng(seed)
    as_far = 0
    for size in _sizes(n):
        moved = draw.integers(0, 2, size=(size, n)).astype(np.float64) @ (new - old)  # [size, k]
        apart = total(new.sum(axis=0) - moved, n) - total(old.sum(axis=0) + moved, n)
        as_far += int(np.count_nonzero(np.abs(apart) >= abs(observed) - 1e-9))  # sums of another order
    return (1 + as_far) / (1 + RESAMPLES)


def _sizes(n: int) -> Iterator[int]:
    step = max(1, _CHUNK // n)
    return (min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step))


def _among(known: Bools, rows: Integers) -> Bools:
    chosen = np.zeros_like(known)
    chosen[rows] = True
    return known & chosen
