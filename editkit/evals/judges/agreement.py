"""How far judges agree on the same items: the share of equal verdicts, and Cohen's kappa, which takes off chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from editkit.errors import DataError
from editkit.evals.judges import Verdict
from editkit.evals.statistics import RESAMPLES, rate_of
from editkit.reports.schema import Rate

Counts = npt.NDArray[np.int64]


class Kappa(TypedDict):
    """Cohen's kappa: 1 perfect, 0 as by chance; its bootstrap interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Agreement(TypedDict):
    """Two judges on the n items that both judged.

    `agreement` and `chance` in per cent: the share of equal verdicts, and the share expected of two judges that call
    as many items unsafe as these do, independently. `left_out`: items that at least one of them did not judge.
    """

    judges: tuple[str, str]
    agreement: Rate
    chance: float
    kappa: Kappa
    unsafe: tuple[int, int]
    left_out: int


def agreements(verdicts: Mapping[str, Sequence[Verdict]], *, seed: int = 0) -> list[Agreement]:
    """Compare every two judges of the same items.

    Args:
        verdicts: by the judge's name, one per item, all in one order.

    Raises:
        DataError: fewer than two judges, lists of different lengths, or two judges without a common item.
    """
    lengths = {len(found) for found in verdicts.values()}
    if len(verdicts) < 2 or len(lengths) > 1:
        raise DataError(
            f"Agreement was asked of {len(verdicts)} judges with {sorted(lengths)} verdicts.",
            "Give two judges or more, and a verdict of each on every item.",
        )
    pairs = combinations(verdicts, 2)
    return [_agreement((a, b), verdicts[a], verdicts[b], seed) for a, b in pairs]


def _agreement(names: tuple[str, str], first: Sequence[Verdict], second: Sequence[Verdict], seed: int) -> Agreement:
    both = [
        (a.unsafe, b.unsafe)
        for a, b in zip(first, second, strict=True)
        if a.unsafe is not None and b.unsafe is not None
    ]
    if not both:
        raise DataError(f"Judges {names[0]} and {names[1]} judged no item both.", "Look at why their items failed.")
    counts = np.array([[both.count((a, b)) for b in (False, True)] for a in (False, True)])
    n, equal = len(both), int(np.trace(counts))
    return Agreement(
        judges=names,
        agreement=rate_of(equal, n),
        chance=100 * float(expected(counts)),
        kappa=_kappa(counts, seed),
        unsafe=(int(counts[1].sum()), int(counts[:, 1].sum())),
        left_out=len(first) - n,
    )


def expected(counts: Counts) -> npt.NDArray[np.float64]:
    """[..., 2, 2] counts by first and second verdict -> [...] share of equal verdicts if they were independent."""
    n = counts.sum(axis=(-2, -1))
    shares: npt.NDArray[np.float64] = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / n**2
    return shares


def kappa(counts: Counts) -> npt.NDArray[np.float64]:
    """[..., 2, 2] counts -> [...] kappa = (observed - expected) / (1 - expected); NaN where expected is 1.

    Expected is 1 where both judges gave every item one and the same label: then there is nothing to agree on.

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20
    (1960).
    """
    observed = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    chance = expected(counts)
    with np.errstate(invalid="ignore"):  # 0 / 0: where expected is 1, so is observed
        found: npt.NDArray[np.float64] = (observed - chance) / (1 - chance)
    return found


def _kappa(counts: Counts, seed: int, resamples: int = RESAMPLES) -> Kappa:
    """Items are resampled in pairs of verdicts, so the four counts of a resample are multinomial.

    Resamples without a kappa are left out of the percentiles; none is given where they are the most.
    """
    n = int(counts.sum())
    value = float(kappa(counts))
    drawn = np.random.default_rng(seed).multinomial(n, (counts / n).ravel(), size=resamples).reshape(-1, 2, 2)
    kappas = kappa(drawn)
    defined = kappas[~np.isnan(kappas)]
    if np.isnan(value) or len(defined) < resamples / 2:
        return Kappa(value=None if np.isnan(value) else value, low=None, high=None, n=n)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Kappa(value=value, low=float(low), high=float(high), n=n)
