"""Intervals and tests against closed forms, scipy and a naive loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from editkit.errors import DataError
from editkit.evals.statistics import mcnemar, paired_bootstrap, wilson


def discordant(lost: int, gained: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of n items of which `lost` are hit by the base only, `gained` by the other only, half the rest by both."""
    base, other = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    base[:lost] = True
    other[lost : lost + gained] = True
    both = slice(lost + gained, lost + gained + (n - lost - gained) // 2)
    base[both] = other[both] = True
    return base, other


@given(n=st.integers(1, 6000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(derandomize=True, deadline=None)
def test_wilson_is_the_score_interval(n: int, share: float, confidence: float) -> None:
    hits = round(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert wilson(hits, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_ends_solve_the_score_equation() -> None:
    for end in wilson(45, 1000):
        assert abs(0.045 - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / 1000), rel=1e-9)


def test_wilson_has_a_width_at_no_hits_and_stays_inside() -> None:
    low, high = wilson(0, 20)
    assert low == 0.0 and 0.1 < high < 0.2
    low, high = wilson(20, 20)
    assert high == 1.0 and 0.8 < low < 0.9


def test_the_half_width_of_gs_in_the_method() -> None:
    low, high = wilson(225, 5000)
    assert 100 * (high - low) / 2 == pytest.approx(0.57, abs=0.01)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="0 items"):
        wilson(0, 0)


@given(lost=st.integers(0, 300), gained=st.integers(0, 300))
@settings(derandomize=True, deadline=None)
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(*discordant(lost, gained, 700)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lost", "gained"), [(2400, 2600), (2500, 2500), (10, 4990), (0, 5000)])
def test_mcnemar_holds_at_five_thousand_items(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, 5000).pvalue
    assert mcnemar(*discordant(lost, gained, 5000)) == pytest.approx(expected, rel=1e-9)


def test_no_item_differs_says_nothing() -> None:
    base, other = discordant(0, 0, 50)
    assert mcnemar(base, other) == 1.0
    assert paired_bootstrap(base, other) == (0.0, 0.0)


def test_the_bootstrap_equals_a_loop_over_resampled_items() -> None:
    n, resamples = 300, 20000
    base, other = discordant(20, 45, n)
    difference = other.astype(int) - base.astype(int)
    rng = np.random.default_rng(7)
    means = [difference[rng.integers(0, n, n)].mean() for _ in range(resamples)]
    naive = np.quantile(means, [0.025, 0.975])
    assert paired_bootstrap(base, other, resamples=resamples) == pytest.approx(naive, abs=2 / n)


def test_the_bootstrap_covers_what_it_says() -> None:
    rng, covered, rounds = np.random.default_rng(3), 0, 400
    for seed in range(rounds):
        outcome = rng.choice([-1, 0, 1], size=400, p=[0.1, 0.7, 0.2])
        low, high = paired_bootstrap(outcome < 0, outcome > 0, seed=seed, resamples=500)
        covered += low <= 0.1 <= high
    assert stats.binomtest(covered, rounds, 0.95).pvalue > 0.001


def test_the_bootstrap_is_seeded_and_antisymmetric() -> None:
    base, other = discordant(20, 45, 1000)
    assert paired_bootstrap(base, other, seed=5) == paired_bootstrap(base, other, seed=5)
    assert paired_bootstrap(base, other, seed=5) != paired_bootstrap(base, other, seed=6)
    low, high = paired_bootstrap(base, other)
    assert paired_bootstrap(other, base) == pytest.approx((-high, -low), abs=3 / 1000)


def test_unpaired_hits_are_refused() -> None:
    for test in (mcnemar, paired_bootstrap):
        with pytest.raises(DataError, match="cannot be paired"):
            test(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
