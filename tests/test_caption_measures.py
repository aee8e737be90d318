"""Intervals and p of captions' scores: against formulas and enumeration, never against the code that draws them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from editkit.evals.captions.metrics import derangement, load_metrics
from editkit.evals.measures import Average, Share, change, rate, value
from editkit.evals.statistics import mcnemar, wilson

DRAW = np.random.default_rng(5)
SCORES = DRAW.uniform(0.2, 0.8, size=400)


def test_an_average_is_in_per_cent_and_its_interval_that_of_a_mean() -> None:
    found = rate(Average.of(SCORES))
    assert found is not None and found["n"] == 400
    assert found["value"] == pytest.approx(100 * SCORES.mean()) == value(Average.of(SCORES))
    half = 100 * 1.96 * SCORES.std() / np.sqrt(400)
    assert found["low"] == pytest.approx(found["value"] - half, abs=0.15 * half)
    assert found["high"] == pytest.approx(found["value"] + half, abs=0.15 * half)


def test_what_is_not_known_does_not_count() -> None:
    scores = np.where(np.arange(400) % 2, SCORES, np.nan)
    assert rate(Average.of(scores)) == rate(Average.of(SCORES[1::2]))
    assert rate(Average.of([np.nan, np.nan])) is None
    assert change(Average.of([np.nan, 0.5]), Average.of([0.5, np.nan])) is None


def test_rows_are_those_of_a_concept() -> None:
    assert rate(Average.of(SCORES), np.array([3])) == {"value": pytest.approx(100 * SCORES[3]), "n": 1} | {
        end: pytest.approx(100 * SCORES[3]) for end in ("low", "high")
    }


def test_a_share_has_wilsons_interval_over_what_was_judged() -> None:
    share = Share(np.array([True, False, True, True]), np.array([True, True, True, False]))
    low, high = wilson(2, 3)
    assert rate(share) == {"value": pytest.approx(200 / 3), "low": 100 * low, "high": 100 * high, "n": 3}


def test_a_change_of_every_caption_alike_is_certain_however_much_captions_differ() -> None:
    found = change(Average.of(SCORES), Average.of(SCORES + 0.01))
    assert found is not None
    assert [found["value"], found["low"], found["high"]] == pytest.approx([1.0] * 3)
    assert found["p"] == pytest.approx(1 / 2001)


def test_no_change_has_p_1() -> None:
    assert change(Average.of(SCORES), Average.of(SCORES)) == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_p_is_the_share_of_all_exchanges_that_lie_as_far_apart() -> None:
    moved = np.array([0.05, 0.02, -0.04, 0.03, 0.06, -0.01, 0.02, 0.04, 0.01])
    base = DRAW.uniform(0.2, 0.8, size=len(moved))
    found = change(Average.of(base), Average.of(base + moved))
    everything = [abs(np.dot(signs, moved)) for signs in product((-1, 1), repeat=len(moved))]
    exact = np.mean([apart >= abs(moved.sum()) - 1e-12 for apart in everything])
    assert found is not None and found["value"] == pytest.approx(100 * moved.mean())
    assert found["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000))
    assert 0.02 < exact < 0.5


def test_a_change_of_a_share_is_mcnemars_on_captions_that_both_have_a_verdict_for() -> None:
    before, after = np.array([True] * 8 + [False] * 4), np.array([False] * 7 + [True] + [False] * 4)
    known, fewer = np.ones(12, dtype=bool), np.arange(12) > 0
    found = change(Share(before, known), Share(after, fewer))
    assert found is not None
    assert found["value"] == pytest.approx(-100 * 6 / 11)
    assert found["p"] == mcnemar(before[1:], after[1:])
    assert found["low"] < found["value"] < found["high"] <= 0


def test_corpus_bleu_is_resampled_as_a_whole() -> None:
    """Of captions that are all alike each resample is the same; of others the interval holds the value."""
    bleu = load_metrics()[0]["Bleu"]
    alike = rate(bleu(["a red dog runs here"] * 9, ["a red dog runs in the park"] * 9)["corpus-Bleu"])
    assert alike is not None and alike["low"] == pytest.approx(alike["value"]) == pytest.approx(alike["high"])
    captions = [f"a red dog runs in the {place}" for place in "abcdefgh"]
    references = [f"a {'red' if i % 2 else 'blue'} dog runs in the {place}" for i, place in enumerate("abcdefgh")]
    found = rate(bleu(captions, references)["corpus-Bleu"])
    assert found is not None and found["low"] < found["value"] - 3 and found["value"] + 3 < found["high"]


def test_the_reference_of_another_tuple_is_never_ones_own() -> None:
    for n in (2, 3, 10):
        others = derangement(n, seed=n)
        assert others is not None and sorted(others) == list(range(n))
        assert all(other != place for place, other in enumerate(others))
    assert derangement(1, seed=0) is None
