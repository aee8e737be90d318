"""The selector `units`: whole columns or rows by pooled scores, against loops over one unit at a time."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from score_samples import same
from torch import Tensor
from tower_scores import KINDS, draw_like

from editkit.errors import RecipeError, ScoreError
from editkit.testing import select

SHAPES = [(1, 1), (1, 7), (7, 1), (3, 4), (8, 5), (2, 50)]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
EVERY_AXIS = pytest.mark.parametrize("axis", ["inputs", "outputs"])
EVERY_POOL = pytest.mark.parametrize("pool", ["mean", "max"])


def units_of(scores: Tensor, axis: str) -> list[list[float]]:
    outputs, inputs = scores.shape
    if axis == "inputs":
        return [[float(scores[o, i]) for o in range(outputs)] for i in range(inputs)]
    return [[float(scores[o, i]) for i in range(inputs)] for o in range(outputs)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sign", ["positive", "signed"])
@EVERY_KIND
@EVERY_POOL
@EVERY_AXIS
def test_the_k_units_of_the_highest_pooled_score_are_selected_whole(
    axis: str, pool: str, kind: str, sign: str, shape: tuple[int, int]
) -> None:
    for seed in range(4):
        scores = draw_like(shape, seed, kind, sign)
        members = units_of(scores, axis)
        pooled = np.array([sum(unit) / len(unit) if pool == "mean" else max(unit) for unit in members])
        if not pooled.any():
            continue  # refused: see below
        for fraction in (0.02, 0.3, 0.5, 1.0):
            count = len(pooled) - int((1 - fraction) * len(pooled))
            chosen = naive.highest(pooled, count)
            expected = np.zeros(shape, dtype=bool)
            for unit in np.flatnonzero(chosen):
                expected[(slice(None), unit) if axis == "inputs" else (unit, slice(None))] = True
            assert same(select("units", scores, axis=axis, pool=pool, fraction=fraction), expected)


@given(seed=st.integers(0, 999), first=st.floats(1e-3, 1), second=st.floats(1e-3, 1))
@EVERY_POOL
@EVERY_AXIS
def test_a_larger_fraction_selects_a_superset(axis: str, pool: str, seed: int, first: float, second: float) -> None:
    scores = draw_like((6, 9), seed, "few values")
    small, large = (select("units", scores, axis=axis, pool=pool, fraction=f) for f in sorted((first, second)))
    assert not (small & ~large).any()


@given(seed=st.integers(0, 999), fraction=st.floats(1e-3, 1))
@EVERY_POOL
def test_output_rows_are_the_input_columns_of_the_transposed_scores(pool: str, seed: int, fraction: float) -> None:
    scores = draw_like((5, 8), seed, "few values")
    rows = select("units", scores, axis="outputs", pool=pool, fraction=fraction)
    assert torch.equal(rows, select("units", scores.T, axis="inputs", pool=pool, fraction=fraction).T)


@given(seed=st.integers(0, 999), fraction=st.floats(1e-3, 1))
@EVERY_KIND
@EVERY_POOL
def test_units_of_one_weight_are_topk(pool: str, kind: str, seed: int, fraction: float) -> None:
    row = draw_like((1, 30), seed, kind, "signed")
    expected = select("topk", row, fraction=fraction)
    assert torch.equal(select("units", row, axis="inputs", pool=pool, fraction=fraction), expected)
    assert torch.equal(select("units", row.T, axis="outputs", pool=pool, fraction=fraction), expected.T)


@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
@EVERY_POOL
def test_the_scores_unit_does_not_matter(pool: str, seed: int, power: int) -> None:
    scores = draw_like((6, 9), seed, "smooth", "signed")
    options: dict[str, Any] = {"pool": pool, "fraction": 0.4}
    assert torch.equal(select("units", scores * 2.0**power, **options), select("units", scores, **options))


def test_mean_and_max_can_disagree() -> None:
    scores = torch.tensor([[9.0, 6.0], [0.0, 6.0]])
    assert select("units", scores, pool="max", fraction=0.5).tolist() == [[True, False]] * 2
    assert select("units", scores, pool="mean", fraction=0.5).tolist() == [[False, True]] * 2


def test_means_are_float64_so_that_a_small_score_counts_beside_a_large_one() -> None:
    scores = torch.tensor([[2.0**25, 2.0**25], [1.0, 0.0]])  # in float32, 2^25 + 1 is 2^25
    assert select("units", scores, fraction=0.5).tolist() == [[True, False]] * 2


@EVERY_POOL
def test_of_equal_units_the_higher_index_is_first(pool: str) -> None:
    assert select("units", torch.ones(2, 4), pool=pool, fraction=0.5).tolist() == [[False, False, True, True]] * 2


def test_two_percent_of_the_input_columns_by_their_mean_are_the_default() -> None:
    scores = torch.rand(3, 200)
    mask = select("units", scores)
    assert torch.equal(mask, select("units", scores, axis="inputs", pool="mean", fraction=0.02))
    assert int(mask.all(dim=0).sum()) == 200 - int(0.98 * 200)


def test_a_mask_owns_its_memory() -> None:
    mask = select("units", torch.rand(3, 4), fraction=0.5)
    mask[0] = False  # a mask that repeats one row would lose them all
    assert int(mask.sum()) == 4


def test_scores_of_zero_are_an_error_that_names_the_site() -> None:
    with pytest.raises(ScoreError, match=r"All 12 scores of text:mlp\.out\[0\] are zero"):
        select("units", torch.zeros(3, 4))


@pytest.mark.parametrize(
    ("pool", "scores"), [("mean", [[1.0, -2.0], [-1.0, 2.0]]), ("max", [[0.0, -2.0], [-1.0, 0.0]])]
)
def test_units_that_all_pool_to_zero_are_an_error(pool: str, scores: list[list[float]]) -> None:
    with pytest.raises(ScoreError, match=f"The {pool} of every unit's scores is zero") as caught:
        select("units", torch.tensor(scores), pool=pool)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    "options", [{"axis": "columns"}, {"pool": "sum"}, {"fraction": 0}, {"fraction": 1.5}, {"tau": 0.1}]
)
def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"selector\.{next(iter(options))}"):
        select("units", torch.ones(2, 2), **options)
