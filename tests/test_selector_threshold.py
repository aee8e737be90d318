"""The selector `threshold`: what scores strictly more than a value, and what it says where nothing does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from score_samples import same
from tower_scores import Scores, counts, masks_by, tower_of, towers, within

from editkit.errors import RecipeError, ScoreError


def highest(scores: Scores) -> float:
    return max(float(values.max()) for values in scores.values())


@given(scores=towers(), above=st.floats(-5, 5))
def test_every_weight_above_the_threshold_is_selected_and_no_other(scores: Scores, above: float) -> None:
    assume(highest(scores) > above)
    masks = masks_by("threshold", scores, above=above)
    for site, values in scores.items():
        expected = np.zeros(site.shape, dtype=bool)
        for o in range(site.shape[0]):
            for i in range(site.shape[1]):
                expected[o, i] = float(values[o, i]) > above
        assert same(masks[site], expected)


@given(scores=towers(), first=st.floats(-5, 5), second=st.floats(-5, 5))
def test_a_lower_threshold_selects_a_superset(scores: Scores, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assume(highest(scores) > high)
    assert within(masks_by("threshold", scores, above=high), masks_by("threshold", scores, above=low))


def test_a_score_equal_to_the_threshold_is_not_selected() -> None:
    (mask,) = masks_by("threshold", tower_of([[1.0, 2.0, 3.0]]), above=2).values()
    assert mask.tolist() == [[False, False, True]]


def test_the_threshold_is_not_rounded_to_the_scores_precision() -> None:
    scores = tower_of([[0.1, 0.3]])  # as float32, 0.1 is a little more and 0.3 a little more than their float64
    (mask,) = masks_by("threshold", scores, above=0.1).values()
    assert mask.tolist() == [[True, True]]
    with pytest.raises(ScoreError):
        masks_by("threshold", scores, above=0.3 + 2e-8)


def test_negative_scores_can_be_above_a_negative_threshold() -> None:
    (mask,) = masks_by("threshold", tower_of([[-3.0, -1.0, 0.0]]), above=-2).values()
    assert mask.tolist() == [[False, True, True]]


def test_a_site_where_nothing_passes_is_left_out() -> None:
    masks = masks_by("threshold", tower_of([[1.0, 2.0]], [[8.0, 1.0]], [[3.0], [2.0]]), above=3)
    assert counts(masks) == [0, 1, 0]


def test_where_no_site_passes_the_highest_score_is_named() -> None:
    scores = tower_of([[1.0, 2.0]], [[0.5, 4.25]], [[3.0]])
    with pytest.raises(
        ScoreError, match=r"No score is above 9\.5: the highest is 4\.25, at text:mlp\.out\[1\]"
    ) as caught:
        masks_by("threshold", scores, above=9.5)
    assert caught.value.remedy == "Set a lower selector.above."


@pytest.mark.parametrize("above", [-1, 0, 1])
def test_a_site_of_zeros_is_refused_whatever_the_threshold(above: float) -> None:
    scores = tower_of([[4.0, 2.0]], [[0.0, 0.0]])
    with pytest.raises(ScoreError, match=r"All 2 scores of text:mlp\.out\[1\] are zero"):
        masks_by("threshold", scores, above=above)


@pytest.mark.parametrize(("options", "message"), [({}, "has to be given"), ({"above": float("inf")}, "above = inf")])
def test_the_threshold_has_to_be_given_and_finite(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        masks_by("threshold", tower_of([[1.0]]), **options)


def test_the_scores_are_left_alone() -> None:
    scores = tower_of([[1.0, -2.0]])
    before = torch.cat(list(scores.values())).clone()
    masks_by("threshold", scores, above=0)
    assert torch.equal(torch.cat(list(scores.values())), before)
