"""Weighted means of hits: their values, and intervals and p that are those of plain rates where weights are equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editkit.evals.embeddings import Bools
from editkit.evals.statistics import change_of, wilson
from editkit.evals.weighted import ItemWeights, effective_items, weighted_change, weighted_rate
from editkit.reports.facts import LEVEL

seeds = st.integers(0, 10_000)


def some(n: int, seed: int, share: float = 0.6) -> Bools:
    return np.random.default_rng(seed).random(n) < share


def equal(n: int) -> ItemWeights:
    return np.full(n, 1 / n)


def balanced(labels: np.ndarray) -> ItemWeights:
    counts = np.bincount(labels)
    return 1 / (np.count_nonzero(counts) * counts[labels])


@given(n=st.integers(1, 60), seed=seeds)
def test_equal_weights_give_wilsons_interval(n: int, seed: int) -> None:
    hits = some(n, seed)
    low, high = wilson(int(hits.sum()), n)
    made = weighted_rate(hits, equal(n), np.arange(n))
    assert made == {
        "value": pytest.approx(100 * hits.mean()),
        "low": pytest.approx(100 * low, abs=1e-9),
        "high": pytest.approx(100 * high, abs=1e-9),
        "n": n,
    }


@given(n=st.integers(1, 40), times=st.integers(1, 9), seed=seeds)
def test_repeats_of_images_change_neither_rate_nor_interval(n: int, times: int, seed: int) -> None:
    hits = some(n, seed)
    once = weighted_rate(hits, equal(n), np.arange(n))
    often = weighted_rate(np.tile(hits, times), equal(n * times), np.tile(np.arange(n), times))
    assert often["n"] == n * times
    assert (often["value"], often["low"], often["high"]) == pytest.approx((once["value"], once["low"], once["high"]))


def test_effective_items_of_a_hand_worked_case() -> None:
    """Two classes of 1 and 3 images: weights 1/2 and 1/6; 1 / (1/4 + 3/36) = 3."""
    weights = balanced(np.array([0, 1, 1, 1]))
    assert weights.tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert effective_items(weights, np.arange(4)) == pytest.approx(3)
    assert effective_items(weights, np.array([0, 1, 1, 1])) == pytest.approx(2)  # the three are one image


def test_the_interval_of_a_mean_over_unequal_classes_covers_it() -> None:
    """Ten classes of 3 to 120 images with accuracies from 0.3 to 0.9: of 95 % intervals about 95 % hold the truth."""
    sizes, truth = np.linspace(3, 120, 10).astype(int), np.linspace(0.3, 0.9, 10)
    labels = np.repeat(np.arange(10), sizes)
    weights, rng = balanced(labels), np.random.default_rng(0)
    draws = rng.random((2000, len(labels))) < truth[labels]
    rates = [weighted_rate(hits, weights, np.arange(len(labels))) for hits in draws]
    covered = np.mean([rate["low"] <= 100 * truth.mean() <= rate["high"] for rate in rates])
    assert 0.94 <= covered <= 0.995


@given(n=st.integers(2, 80), seed=seeds)
def test_equal_weights_give_the_change_its_interval_and_nearly_its_p(n: int, seed: int) -> None:
    base, other = some(n, seed), some(n, seed + 1, 0.4)
    made, plain = weighted_change(base, other, equal(n), np.arange(n)), change_of(base, other)
    assert made["value"] == pytest.approx(plain["value"])
    assert made["p"] == pytest.approx(plain["p"], abs=0.02)
    if (made["p"] < LEVEL) == (plain["p"] < LEVEL):
        assert (made["low"], made["high"]) == pytest.approx((plain["low"], plain["high"]))


@given(n=st.integers(2, 60), seed=seeds)
def test_interval_and_test_agree_whatever_the_weights(n: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(n, 0.5))
    made = weighted_change(some(n, seed, 0.2), some(n, seed + 1, 0.6), weights, np.arange(n))
    assert (made["low"] > 0 or made["high"] < 0) == (made["p"] < LEVEL)


@pytest.mark.parametrize("net", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("differing", [0.05, 0.3])
def test_the_interval_of_a_change_of_a_mean_over_unequal_classes_covers_it(differing: float, net: float) -> None:
    """Ten classes of 3 to 120 images, in each of which as many differ; of 600 draws, so give or take 0.02."""
    labels = np.repeat(np.arange(10), np.linspace(3, 120, 10).astype(int))
    weights, rng = balanced(labels), np.random.default_rng(1)
    outcomes = rng.choice(
        [-1, 0, 1], p=[differing * (1 - net) / 2, 1 - differing, differing * (1 + net) / 2], size=(600, len(labels))
    )
    changes = [weighted_change(one < 0, one > 0, weights, np.arange(len(labels))) for one in outcomes]
    truth = 100 * differing * net
    assert 0.88 <= np.mean([change["low"] <= truth <= change["high"] for change in changes]) <= 0.99


def test_a_change_of_a_hand_worked_mean_over_classes() -> None:
    """Class 0 has one image, lost; class 1 has three, two gained: (-1 + 2/3) / 2."""
    labels = np.array([0, 1, 1, 1])
    base, other = np.array([True, False, False, True]), np.array([False, True, True, True])
    made = weighted_change(base, other, balanced(labels), np.arange(4))
    assert made["value"] == pytest.approx(100 * (-1 + 2 / 3) / 2)
    # of the sums +-1/2 +-1/6 +-1/6 six are farther out than |-1/2 + 1/6 + 1/6| = 1/6, and two as far, which count half
    assert made["p"] == pytest.approx(7 / 8, abs=0.02)


def test_p_of_a_hand_worked_sign_flip() -> None:
    """Two gains that weigh 3 and 1: of sums +-3 +-1 two of four are as large as 4, and count half."""
    base, other = np.array([False, False]), np.array([True, True])
    made = weighted_change(base, other, np.array([0.75, 0.25]), np.arange(2))
    assert made["value"] == 100 and made["p"] == pytest.approx(0.25, abs=0.02)


def test_without_differences_nothing_is_claimed() -> None:
    hits = some(30, 0)
    made = weighted_change(hits, hits, equal(30), np.arange(30))
    assert made == {**change_of(hits, hits), "value": 0, "p": 1} and made["low"] < -5 and made["high"] > 5


def test_repeats_do_not_make_a_change_surer() -> None:
    base, other = some(40, 1, 0.3), some(40, 2, 0.6)
    once = weighted_change(base, other, equal(40), np.arange(40))
    often = weighted_change(np.tile(base, 9), np.tile(other, 9), equal(360), np.tile(np.arange(40), 9))
    assert often["value"] == pytest.approx(once["value"])
    assert (often["low"], often["high"]) == pytest.approx((once["low"], once["high"]), abs=5)
    assert often["p"] == pytest.approx(once["p"], abs=0.02)
