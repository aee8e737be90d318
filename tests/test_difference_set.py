"""The selector `difference-set`: the top of one scorer less the top of another, as sets of indices."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from score_samples import same
from tower_scores import KINDS, Scores, counts, draw_like, masks_by, tower_of, within

from editkit.components.load import default_host
from editkit.components.specs import SelectorSpec
from editkit.errors import ScoreError

fractions = st.floats(1e-3, 1)


@st.composite
def twice(draw: st.DrawFn) -> tuple[Scores, Scores]:
    """Scores and other scores of the same sites, of shapes from one row to one column."""
    seed, kind = draw(st.integers(0, 2**20)), draw(st.sampled_from(KINDS))
    shapes = draw(st.sampled_from([[(1, 7)], [(7, 1), (3, 4)], [(5, 5), (1, 1), (2, 6)]]))
    scores, other = ([draw_like(shape, seed + n, kind, "signed").tolist() for shape in shapes] for n in (0, 1))
    return tower_of(*scores), tower_of(*other)


def difference(both: tuple[Scores, Scores], q: float, p: float) -> Any:
    return masks_by("difference-set", *both, fraction=q, other_fraction=p)


def something_is_left(both: tuple[Scores, Scores], q: float, p: float) -> bool:
    wanted = masks_by("topk", both[0], fraction=q)
    return not within(wanted, masks_by("topk", both[1], fraction=p))


@given(both=twice(), q=fractions, p=fractions)
def test_it_is_the_top_q_less_the_other_top_p(both: tuple[Scores, Scores], q: float, p: float) -> None:
    scores, other = both
    expected = {}
    for site in scores:
        wanted = set(naive.ranked(scores[site])[: site.size - int((1 - q) * site.size)])
        kept = set(naive.ranked(other[site])[: site.size - int((1 - p) * site.size)])
        expected[site] = np.array([index in wanted - kept for index in range(site.size)]).reshape(site.shape)
    assume(any(mask.any() for mask in expected.values()))
    masks = difference(both, q, p)
    assert all(same(masks[site], expected[site]) for site in scores)


@given(both=twice(), first=fractions, second=fractions, p=fractions)
def test_a_larger_fraction_selects_a_superset(
    both: tuple[Scores, Scores], first: float, second: float, p: float
) -> None:
    small, large = sorted((first, second))
    assume(something_is_left(both, small, p))
    assert within(difference(both, small, p), difference(both, large, p))


@given(both=twice(), q=fractions, first=fractions, second=fractions)
def test_a_larger_other_fraction_selects_a_subset(
    both: tuple[Scores, Scores], q: float, first: float, second: float
) -> None:
    small, large = sorted((first, second))
    assume(something_is_left(both, q, large))
    assert within(difference(both, q, large), difference(both, q, small))


def test_with_the_same_scores_twice_the_ranks_between_the_fractions_are_selected() -> None:
    scores = tower_of([[1.0, 5.0, 2.0, 4.0, 3.0, 6.0, 8.0, 7.0]])
    (mask,) = difference((scores, scores), 0.5, 0.25).values()
    assert mask.tolist() == [[False, True, False, False, False, True, False, False]]


def test_a_site_whose_difference_is_empty_is_left_out() -> None:
    scores = tower_of([[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 3.0, 4.0]])
    other = tower_of([[4.0, 3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0, 4.0]])
    assert counts(difference((scores, other), 0.5, 0.5)) == [2, 0]


def test_where_every_difference_is_empty_the_overlap_is_named() -> None:
    scores = tower_of([[1.0, 2.0, 3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]])
    with pytest.raises(ScoreError, match=r"All 4 weights .* top 0\.5 are also in the top 0\.75 by wanda") as caught:
        difference((scores, scores), 0.5, 0.75)
    assert caught.value.remedy == "Raise selector.fraction or lower selector.other_fraction."


def test_all_zero_scores_are_an_error_that_names_the_site() -> None:
    with pytest.raises(ScoreError, match=r"All 2 scores of text:mlp\.out\[0\] are zero"):
        difference((tower_of([[0.0, 0.0]]), tower_of([[1.0, 2.0]])), 0.5, 0.5)


def test_all_zero_scores_by_the_other_scorer_are_an_error_that_says_so() -> None:
    scores, other = tower_of([[1.0, 2.0]], [[1.0, 2.0]]), tower_of([[1.0, 2.0]], [[0.0, 0.0]])
    with pytest.raises(ScoreError, match=r"of text:mlp\.out\[1\] by the other scorer, wanda, are zero") as caught:
        difference((scores, other), 0.5, 0.5)
    assert "selector.other" in caught.value.remedy
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"name": "wanda", "side": "safe"}),
        ({"other": "magnitude", "other_options": {}}, {"name": "magnitude"}),
        ({"other": "uwm", "other_options": {"prior": "none"}}, {"name": "uwm", "prior": "none"}),
    ],
)
def test_the_engine_is_asked_for_the_other_scorer_with_its_options(options: dict[str, Any], expected: Any) -> None:
    spec = default_host().resolve(SelectorSpec, "difference-set")
    assert spec.other_scorers(spec.options(**options)) == {"other": expected}


def test_neither_scores_are_changed() -> None:
    scores, other = tower_of([[1.0, 2.0, -3.0]]), tower_of([[2.0, -1.0, 3.0]])
    before = [values.clone() for values in (*scores.values(), *other.values())]
    difference((scores, other), 0.5, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, (*scores.values(), *other.values()), strict=True))
