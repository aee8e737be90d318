"""The selector `global`: the highest scores of a tower under one threshold, against a full sort of all sites."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from score_samples import same
from tower_scores import Scores, counts, draw_like, masks_by, site_of, tower_of, towers, within

from editkit.components.site import Site
from editkit.errors import ScoreError

fractions = st.floats(1e-3, 1)


@given(scores=towers(), fraction=fractions)
def test_the_k_highest_of_all_sites_are_selected(scores: Scores, fraction: float) -> None:
    ranked: list[tuple[float, int, Site, int, int]] = []
    for site, values in scores.items():
        for o in range(site.shape[0]):
            for i in range(site.shape[1]):
                ranked.append((float(values[o, i]), len(ranked), site, o, i))
    ranked.sort(key=lambda entry: entry[:2], reverse=True)  # of equal scores the later position first
    expected = {site: np.zeros(site.shape, dtype=bool) for site in scores}
    for _, _, site, o, i in ranked[: len(ranked) - int((1 - fraction) * len(ranked))]:
        expected[site][o, i] = True
    masks = masks_by("global", scores, fraction=fraction)
    assert all(same(masks[site], expected[site]) for site in scores)


@given(scores=towers(), first=fractions, second=fractions)
def test_a_larger_fraction_selects_a_superset(scores: Scores, first: float, second: float) -> None:
    small, large = sorted((first, second))
    assert within(masks_by("global", scores, fraction=small), masks_by("global", scores, fraction=large))


@given(scores=towers(most=1), fraction=fractions)
def test_over_one_site_it_is_topk(scores: Scores, fraction: float) -> None:
    found, expected = (masks_by(name, scores, fraction=fraction) for name in ("global", "topk"))
    assert all(torch.equal(found[site], expected[site]) for site in scores)


@given(seed=st.integers(0, 99), fraction=fractions)
def test_without_ties_the_order_of_the_sites_does_not_matter(seed: int, fraction: float) -> None:
    sites = [site_of(layer, shape) for layer, shape in enumerate([(3, 4), (1, 7), (5, 1)])]
    scores = {site: draw_like(site.shape, seed + site.layer, "smooth") for site in sites}
    scores = {site: values + torch.rand(site.shape) for site, values in scores.items()}
    forth = masks_by("global", scores, fraction=fraction)
    back = masks_by("global", dict(reversed(scores.items())), fraction=fraction)
    assert all(torch.equal(forth[site], back[site]) for site in scores)


def test_of_equal_scores_the_later_site_and_then_the_higher_index_is_first() -> None:
    masks = masks_by("global", tower_of([[1.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]), fraction=0.5)
    assert [mask.tolist() for mask in masks.values()] == [[[False, False]], [[True, True], [False, True]]]


def test_a_site_of_low_scores_is_left_out() -> None:
    assert counts(masks_by("global", tower_of([[1.0, 2.0]], [[8.0, 9.0]]), fraction=0.5)) == [0, 2]


def test_two_percent_of_a_tower_are_selected_by_default() -> None:
    scores = {site_of(layer, (30, 20 + layer)): torch.rand(30, 20 + layer) for layer in range(3)}
    total = sum(site.size for site in scores)
    assert sum(counts(masks_by("global", scores))) == total - int(0.98 * total)


def test_everything_can_be_selected() -> None:
    assert counts(masks_by("global", tower_of([[1.0, -2.0]], [[0.0, 9.0]]), fraction=1)) == [2, 2]


def test_one_site_of_zeros_is_no_error() -> None:
    assert counts(masks_by("global", tower_of([[0.0, 0.0]], [[1.0, 2.0]]), fraction=0.25)) == [0, 1]


def test_zeros_rank_above_negative_scores() -> None:
    assert counts(masks_by("global", tower_of([[0.0, 0.0]], [[-1.0, -2.0]]), fraction=0.5)) == [2, 0]


def test_zeros_everywhere_are_an_error() -> None:
    with pytest.raises(ScoreError, match="All 4 scores of 2 sites are zero") as caught:
        masks_by("global", tower_of([[0.0, 0.0]], [[0.0], [0.0]]))
    assert str(caught.value).count("\n") == 1


def test_how_scores_lie_in_memory_does_not_matter() -> None:
    values = draw_like((4, 6), 0, "few values")
    site = site_of(0, (4, 6))
    turned = masks_by("global", {site: values.T.contiguous().T}, fraction=0.3)
    assert torch.equal(turned[site], masks_by("global", {site: values}, fraction=0.3)[site])
