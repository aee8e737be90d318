"""Selectors against a full sort in float64, and their one answer to ties, empty choices and wrong options."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from score_samples import SITES, same
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import SelectionContext
from editkit.components.specs import SelectorSpec
from editkit.errors import PluginError, RecipeError, ScoreError
from editkit.methods.selectors.options import TopkOptions
from editkit.testing import select

taus = st.floats(1e-6, 1 - 1e-6)
fractions = st.floats(1e-3, 1)


@st.composite
def matrices(draw: st.DrawFn, signed: bool = False) -> Tensor:
    """[O, I] scores: smooth, or few distinct integers, so that ties and zeros are common; never all zero or less."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        values = random.lognormal(0, draw(st.sampled_from([0.1, 1, 4])), shape)
    else:
        values = random.integers(0, draw(st.integers(2, 5)), shape).astype(float)
    if signed:
        values = values * random.choice([-1, 1], shape)
    values.flat[random.integers(values.size)] = values.max() if values.max() > 0 else 1
    return torch.tensor(values, dtype=torch.float32)


def away_from_a_cut(scores: Tensor, tau: float) -> bool:
    """No partial sum lies so near the cut that the order of additions decides."""
    ordered = np.sort(np.maximum(naive.float64(scores).ravel(), 0))
    shares = np.cumsum(ordered) / ordered.sum()
    return bool((np.abs(shares - (1 - tau)) > 1e-9).all())


# adaptive


@given(scores=matrices(), tau=taus)
def test_adaptive_equals_a_full_sort(scores: Tensor, tau: float) -> None:
    assume(away_from_a_cut(scores, tau))
    assert same(select("adaptive", scores, tau=tau), naive.adaptive(scores, tau))


@given(scores=matrices(signed=True), tau=taus)
def test_adaptive_signed_divides_by_the_signed_sum_as_released(scores: Tensor, tau: float) -> None:
    total = naive.float64(scores).sum()
    assume(abs(total) > 1e-6)
    shares = np.cumsum(np.sort(naive.float64(scores).ravel())) / total
    assume(bool((np.abs(shares - (1 - tau)) > 1e-9).all()))
    assert same(select("adaptive-signed", scores, tau=tau), naive.adaptive_signed(scores, tau))


@given(scores=matrices(), tau=taus)
def test_of_scores_of_one_sign_it_is_adaptive(scores: Tensor, tau: float) -> None:
    assume(away_from_a_cut(scores, tau))
    positive = scores + 0.5  # a score of 0 holds no mass in the one and a place in the other
    assume(away_from_a_cut(positive, tau))
    assert torch.equal(select("adaptive-signed", positive, tau=tau), select("adaptive", positive, tau=tau))


def test_scores_that_sum_to_nothing_are_refused() -> None:
    with pytest.raises(ScoreError, match="sum to 0"):
        select("adaptive-signed", torch.tensor([[1.0, -1.0]]), tau=0.02)


@given(scores=matrices(signed=True), tau=taus)
def test_adaptive_counts_negative_scores_as_zero(scores: Tensor, tau: float) -> None:
    mask = select("adaptive", scores, tau=tau)
    assert torch.equal(mask, select("adaptive", scores.clamp(min=0), tau=tau))
    assert bool((scores[mask] > 0).all())


@given(scores=matrices(), tau=taus)
def test_adaptive_holds_tau_of_the_mass_and_not_one_weight_more(scores: Tensor, tau: float) -> None:
    assume(away_from_a_cut(scores, tau))
    exact = scores.double()
    mask = select("adaptive", scores, tau=tau)
    held, total = float(exact[mask].sum()), float(exact.sum())
    assert held > tau * total
    assert held - float(exact[mask].min()) <= tau * total
    assert float(exact[mask].min()) >= float(exact[~mask].max() if (~mask).any() else 0)


@given(scores=matrices(), first=taus, second=taus)
def test_adaptive_grows_with_tau(scores: Tensor, first: float, second: float) -> None:
    small, large = sorted((first, second))
    assert not (select("adaptive", scores, tau=small) & ~select("adaptive", scores, tau=large)).any()


@given(scores=matrices(), tau=taus, power=st.integers(-20, 20))
def test_adaptive_does_not_depend_on_the_scores_unit(scores: Tensor, tau: float, power: int) -> None:
    assert torch.equal(select("adaptive", scores * 2.0**power, tau=tau), select("adaptive", scores, tau=tau))


def test_a_tiny_tau_selects_the_one_highest_weight() -> None:
    scores = torch.tensor([[1.0, 5.0], [4.0, 2.0]])
    assert select("adaptive", scores, tau=1e-12).tolist() == [[False, True], [False, False]]


def test_a_tau_near_one_selects_every_weight_but_those_of_no_mass() -> None:
    scores = torch.tensor([[1.0, 0.0], [4.0, -2.0]])
    assert select("adaptive", scores, tau=1 - 1e-12).tolist() == [[True, False], [True, False]]


def test_the_cut_is_exclusive_as_in_the_released_code() -> None:
    # ascending shares 0.25, 0.5, 0.75, 1: above 1 - 0.5 are two
    assert select("adaptive", torch.ones(2, 2), tau=0.5).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("size", [50, 4096, 10_007])
def test_constant_scores_select_their_share(size: int) -> None:
    mask = select("adaptive", torch.full((1, size), 0.1), tau=0.02)
    assert int(mask.sum()) == int(np.ceil(0.02 * size))
    assert bool(mask[0, -int(mask.sum()) :].all())


def test_sums_are_float64_so_that_a_large_site_is_cut_where_a_full_sort_cuts_it() -> None:
    scores = torch.rand(1000, 1200, generator=torch.Generator().manual_seed(0)) ** 3
    for tau in (0.02, 0.3, 0.9):
        flat = np.sort(scores.double().numpy().ravel())
        expected = int((np.cumsum(flat) / flat.sum() > 1 - tau).sum())
        assert int(select("adaptive", scores, tau=tau).sum()) == expected


def test_sums_are_float64_so_that_small_scores_count_beside_a_large_one() -> None:
    scores = torch.full((1024, 1025), 2.0**-30)
    scores[5, 5] = 1.0  # in float32, 1 + 2^-30 is 1
    total = 1 + (scores.numel() - 1) * 2.0**-30
    assert int(select("adaptive", scores, tau=(1 + 100.5 * 2.0**-30) / total).sum()) == 102


def test_one_dominant_weight_is_selected_alone() -> None:
    scores = torch.full((40, 50), 1e-6)
    scores[7, 3] = 1e6
    assert select("adaptive", scores, tau=0.9).nonzero().tolist() == [[7, 3]]


@pytest.mark.parametrize("scores", [torch.zeros(3, 4), -torch.ones(3, 4), torch.tensor([[0.0, -1.0]])])
def test_scores_without_positive_mass_are_an_error(scores: Tensor) -> None:
    with pytest.raises(ScoreError) as caught:
        select("adaptive", scores, tau=0.02)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("tau", [0, 1, 1.5, -0.1, float("nan"), "many"])
def test_a_tau_outside_its_range_is_an_error(tau: Any) -> None:
    with pytest.raises(RecipeError, match=r"selector\.tau = ") as caught:
        select("adaptive", torch.ones(2, 2), tau=tau)
    assert caught.value.remedy == "Options: tau (0.02)."


# topk


@given(scores=matrices(signed=True), fraction=fractions)
def test_topk_selects_exactly_the_k_highest(scores: Tensor, fraction: float) -> None:
    assume(bool(scores.any()))
    count = scores.numel() - int((1 - fraction) * scores.numel())
    mask = select("topk", scores, fraction=fraction)
    assert int(mask.sum()) == count
    assert same(mask, naive.highest(scores, count))


@given(scores=matrices(), fraction=fractions)
def test_topk_per_row_is_topk_of_each_row(scores: Tensor, fraction: float) -> None:
    mask = select("topk", scores, fraction=fraction, per="row")
    count = scores.shape[1] - int((1 - fraction) * scores.shape[1])
    for row, chosen in zip(scores, mask, strict=True):
        assert same(chosen, naive.highest(row, count))


@given(scores=matrices(), sparsity=st.floats(0, 0.999))
def test_sparsity_is_what_is_left_alone(scores: Tensor, sparsity: float) -> None:
    mask = select("topk", scores, sparsity=sparsity)
    assert int((~mask).sum()) == int(sparsity * scores.numel())


def test_topk_selects_two_percent_by_default() -> None:
    assert int(select("topk", torch.rand(64, 64)).sum()) == 64 * 64 - int(0.98 * 64 * 64)


def test_topk_may_select_everything() -> None:
    assert bool(select("topk", torch.rand(3, 3), fraction=1).all())


def test_a_fraction_too_small_for_any_weight_selects_none() -> None:
    assert not select("topk", torch.rand(3, 3), fraction=1e-18).any()


def test_topk_ranks_negative_scores_too() -> None:
    assert select("topk", torch.tensor([[-3.0, -1.0, -2.0]]), fraction=0.3).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.1, "sparsity": 0.9}, "give selector.fraction or selector.sparsity, not both"),
        ({"tau": 0.1}, "topk has no tau; set selector.fraction instead"),
        ({"fraction": 0}, r"selector.fraction = 0"),
        ({"fraction": 1.1}, r"selector.fraction = 1.1"),
        ({"sparsity": 1}, r"selector.sparsity = 1"),
        ({"per": "column"}, r"selector.per = 'column'"),
        ({"fractoin": 0.1}, r"selector.fractoin is not an option here\. Did you mean 'fraction'\?"),
    ],
)
def test_topk_says_which_option_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        select("topk", torch.ones(2, 2), **options)
    assert str(caught.value).count("\n") == 1


def test_the_count_of_a_fraction_is_the_released_codes() -> None:
    for size in (100, 589_824):
        for fraction in (0.02, 0.005, 0.035, 0.5, 1.0):
            assert TopkOptions(fraction=fraction).count(size) == size - int((1 - fraction) * size)


# ties


@pytest.mark.parametrize(
    ("selector", "options"),
    [("adaptive", {"tau": 0.3}), ("topk", {"fraction": 0.25}), ("matched", {"counts": {"text:mlp.out[0]": 3}})],
)
def test_of_equal_scores_the_higher_flat_index_is_selected_first(selector: str, options: dict[str, Any]) -> None:
    scores = torch.tensor([[2.0, 2.0, 1.0, 2.0], [2.0, 0.5, 2.0, 1.0], [2.0, 1.0, 0.5, 0.5]])
    expected = torch.zeros(3, 4, dtype=torch.bool)
    expected[2, 0] = expected[1, 2] = expected[1, 0] = True  # flat 8, 6, 4 of the sixes 0 1 3 4 6 8
    assert torch.equal(select(selector, scores, **options), expected)


def test_within_a_row_the_higher_index_is_selected_first() -> None:
    mask = select("topk", torch.ones(2, 4), fraction=0.25, per="row")
    assert mask.tolist() == [[False, False, False, True]] * 2


@given(scores=matrices(), seed=st.integers(0, 99))
def test_a_selection_does_not_depend_on_how_the_scores_lie_in_memory(scores: Tensor, seed: int) -> None:
    turned = scores.T.contiguous().T
    assert torch.equal(select("topk", turned, fraction=0.4), select("topk", scores, fraction=0.4))
    assert torch.equal(select("adaptive", turned, tau=0.4), select("adaptive", scores, tau=0.4))


# all


def test_all_selects_every_weight_even_of_zero_score() -> None:
    mask = select("all", torch.zeros(3, 4))
    assert (mask.dtype, tuple(mask.shape), bool(mask.all())) == (torch.bool, (3, 4), True)


# shared answers


@pytest.mark.parametrize(
    ("selector", "options"),
    [("adaptive", {}), ("topk", {}), ("topk", {"per": "row"}), ("matched", {"counts": {"text:mlp.out[0]": 1}})],
)
def test_all_zero_scores_are_an_error_that_names_the_site(selector: str, options: dict[str, Any]) -> None:
    with pytest.raises(ScoreError, match=r"All 12 scores of text:mlp.out\[0\] are zero"):
        select(selector, torch.zeros(3, 4), **options)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_site_of_one_row_or_column_can_be_selected_from(shape: tuple[int, int]) -> None:
    scores = torch.rand(shape) + 0.1
    for selector, options in (("adaptive", {"tau": 0.02}), ("topk", {"fraction": 0.02}), ("topk", {"per": "row"})):
        mask = select(selector, scores, **options)  # type: ignore[arg-type]
        assert tuple(mask.shape) == shape
        assert bool(mask.flatten()[scores.argmax()])


def test_selecting_leaves_the_scores_alone() -> None:
    scores = torch.randn(5, 6)
    before = scores.clone()
    for selector in ("adaptive", "topk", "all"):
        select(selector, scores)
    assert torch.equal(scores, before)


def test_each_site_is_cut_on_its_own() -> None:
    spec = default_host().resolve(SelectorSpec, "adaptive")
    scores = {SITES[0]: torch.rand(4, 5), SITES[1]: torch.rand(4, 5) * 1000}
    masks = spec.load()(spec.options(tau=0.3)).select(scores, SelectionContext())
    for site in SITES:
        assert same(masks[site], naive.adaptive(scores[site], 0.3))


def test_an_unknown_selector_is_named_with_the_closest() -> None:
    with pytest.raises(PluginError, match="Unknown selector 'adaptve'. Did you mean 'adaptive'"):
        select("adaptve", torch.ones(2, 2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("selector", "options"),
    [("adaptive", {}), ("topk", {}), ("global", {}), ("units", {}), ("threshold", {"above": 0.0})],
)
def test_a_score_that_is_not_finite_is_an_error(selector: str, options: dict[str, Any], bad: float) -> None:
    scores = torch.ones(4, 6)
    scores[1, 2] = bad
    with pytest.raises(ScoreError, match="not all finite numbers"):
        select(selector, scores, **options)
