"""Intervals and tests against closed forms, scipy and a naive loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from editkit.errors import DataError
from editkit.evals.statistics import change_of, difference_of, holm, mcnemar, tango, wilson
from editkit.reports.facts import ENOUGH, LEVEL


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
def test_mcnemar_is_the_binomial_test_in_which_the_observed_outcome_counts_half(lost: int, gained: int) -> None:
    m = lost + gained
    exact = stats.binomtest(lost, m).pvalue if m else 1.0
    expected = 1.0 if lost == gained else exact - stats.binom.pmf(lost, m, 0.5)
    assert mcnemar(*discordant(lost, gained, 700)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lost", "gained"), [(2400, 2600), (2500, 2500), (10, 4990), (0, 5000)])
def test_mcnemar_holds_at_five_thousand_items(lost: int, gained: int) -> None:
    exact = stats.binomtest(lost, 5000).pvalue
    expected = 1.0 if lost == gained else exact - stats.binom.pmf(lost, 5000, 0.5)
    assert mcnemar(*discordant(lost, gained, 5000)) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_five_items_are_the_fewest_that_can_tell() -> None:
    assert mcnemar(*discordant(0, ENOUGH, ENOUGH)) < LEVEL < mcnemar(*discordant(0, ENOUGH - 1, ENOUGH - 1))


def likelihood(gained: int, lost: int, n: int, difference: float, share: float) -> float:
    """Of the counts, where lost items have this share and gained ones that much more; without its constant."""
    terms = ((gained, share + difference), (lost, share), (n - gained - lost, 1 - 2 * share - difference))
    if any(p < 0 or (p == 0 and count) for count, p in terms):
        return -math.inf
    return sum(count * math.log(p) for count, p in terms if count)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 5, 60), (3, 0, 40), (0, 4, 1100), (30, 31, 100), (5, 0, 5)])
def test_the_ends_of_tangos_interval_solve_the_score_equation_written_from_the_paper(
    gained: int, lost: int, n: int
) -> None:
    """The likeliest share of lost items, given the difference, is looked for on a grid."""
    for end in tango(gained, lost, n):
        if abs(end) == 1:
            continue
        shares = np.linspace(max(0, -end), (1 - end) / 2, 200_001)
        likely = np.array([likelihood(gained, lost, n, end, float(share)) for share in shares[::100]])
        near = int(likely.argmax()) * 100
        fine = shares[max(0, near - 100) : near + 101]
        share = fine[int(np.argmax([likelihood(gained, lost, n, end, float(one)) for one in fine]))]
        z = (gained - lost - n * end) / math.sqrt(n * (2 * share + end - end**2))
        assert abs(z) == pytest.approx(1.959964, abs=2e-3)


@given(gained=st.integers(0, 60), lost=st.integers(0, 60), rest=st.integers(0, 900))
@settings(derandomize=True, deadline=None)
def test_tangos_interval_holds_the_difference_is_antisymmetric_and_stays_inside(
    gained: int, lost: int, rest: int
) -> None:
    n = max(1, gained + lost + rest)
    low, high = tango(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1 and low < high
    assert tango(lost, gained, n) == pytest.approx((-high, -low), abs=1e-12)


@given(gained=st.integers(0, 400), lost=st.integers(0, 400), rest=st.integers(0, 2000))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_interval_and_test_agree(gained: int, lost: int, rest: int) -> None:
    n = gained + lost + rest
    if not n:
        return
    change = change_of(*discordant(lost, gained, n))
    assert (change["low"] > 0 or change["high"] < 0) == (change["p"] < LEVEL)


def coverage(n: int, differing: float, net: float) -> float:
    """How often the interval holds the true difference: the sum over all outcomes, by their probability."""
    truth, gain, loss = differing * net, differing * (1 + net) / 2, differing * (1 - net) / 2
    most = min(n, int(n * differing + 8 * math.sqrt(n * differing) + 10))
    covered = total = 0.0
    for gained in range(most + 1):
        for lost in range(most + 1 - gained):
            weight = float(stats.multinomial.pmf([gained, lost, n - gained - lost], n, [gain, loss, 1 - differing]))
            if weight > 1e-7:
                p = mcnemar(*discordant(lost, gained, n))
                change = difference_of(gained, lost, n, p)
                total += weight
                covered += weight * (change["low"] <= 100 * truth <= change["high"])
    return covered / total


@pytest.mark.parametrize("net", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("n", "differing"), [(20, 0.3), (50, 0.1), (100, 0.3), (300, 0.02), (300, 0.1), (1100, 0.005)])
def test_the_interval_covers_what_it_says_where_five_items_or_more_differ(n: int, differing: float, net: float) -> None:
    assert 0.93 <= coverage(n, differing, net) <= 0.98


@pytest.mark.parametrize("net", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("n", "differing"), [(5, 0.3), (20, 0.02), (100, 0.02), (1100, 0.0005), (5000, 0.0005)])
def test_where_fewer_differ_it_covers_more_and_never_less(n: int, differing: float, net: float) -> None:
    """At n = 1,100 and 0.05 % the percentile bootstrap held the truth in 41 % of all cases."""
    assert coverage(n, differing, net) >= 0.965


def test_a_change_of_nothing_and_of_everything_has_a_width() -> None:
    nothing, everything = change_of(*discordant(0, 0, 50)), change_of(*discordant(0, 5, 5))
    assert nothing["p"] == 1 and nothing["low"] < -5 and nothing["high"] > 5
    assert everything["high"] == 100 and 0 < everything["low"] < 60


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_a_loop_over_the_steps_rejects(p: list[float]) -> None:
    rejected: set[int] = set()
    for step, place in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        if p[place] >= LEVEL / (len(p) - step):
            break
        rejected.add(place)
    assert {place for place, one in enumerate(holm(p)) if one < LEVEL} == rejected


def test_holm_of_a_hand_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_unpaired_hits_are_refused() -> None:
    for test in (mcnemar, change_of):
        with pytest.raises(DataError, match="cannot be paired"):
            test(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
