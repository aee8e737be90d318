"""Scorers where a ratio is undefined: one answer for each degenerate case, and a count."""

from __future__ import annotations

from typing import Any

import naive
import pytest
import torch
from pair_samples import EVERY_METHOD, clean, run, scorer
from torch import Tensor

from editkit.testing import score


def check_left_out(name: str, options: dict[str, Any], weight: Tensor, sides: list[Tensor]) -> dict[str, int]:
    """Compare with the loops and return the notes."""
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert bool(torch.isfinite(found).all())
    assert naive.relative(found, naive.score(name, weight, *sides, tower="vision", **options)) <= 1e-5
    return dict(notes)


@EVERY_METHOD
def test_nothing_degenerate_is_counted_where_nothing_is(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    assert check_left_out(name, options, weight, sides) == {"cells_left_out": 0, "empty_columns": 0, "zero_rows": 0}


@EVERY_METHOD
def test_a_channel_silent_on_the_safe_side_leaves_its_pair_out_of_that_column(
    name: str, options: dict[str, Any]
) -> None:
    weight, sides = clean()
    sides[0][1, :, 2] = 0
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 1, "empty_columns": 0, "zero_rows": 0}
    kept = [0, 2, 3]
    without = score(name, weight, *(x[kept] for x in sides), tower="vision", **options)
    torch.testing.assert_close(score(name, weight, *sides, tower="vision", **options)[:, 2], without[:, 2])


@EVERY_METHOD
@pytest.mark.parametrize("side", [0, 2], ids=["safe", "unsafe"])
@pytest.mark.parametrize("value", [1.0, 0.1, -0.3, 1e-4, 12345.678])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_constant_channel_leaves_its_pair_out_of_that_column(
    name: str, options: dict[str, Any], side: int, value: float, dtype: torch.dtype
) -> None:
    weight, sides = clean(t=9, t_u=11)  # 0.1 added 9 times is not 0.9 in any binary format
    sides[side][1, :, 2] = value
    sides[side][3, :, 2] = value
    sides[0], sides[2] = sides[0].to(dtype), sides[2].to(dtype)
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 2


@EVERY_METHOD
def test_a_channel_constant_over_real_tokens_counts_as_constant_wherever_padding_stands(
    name: str, options: dict[str, Any]
) -> None:
    weight, sides = clean(t=7)
    sides[1][:, [0, 6]] = False
    sides[0][:, [0, 6]] = 0.7
    sides[0][2, 1:6, 4] = 0.1
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 1


@EVERY_METHOD
def test_a_channel_silent_on_the_unsafe_side_counts_with_no_saliency(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[2][:, :, 5] = 0
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 0
    found = score(name, weight, *sides, tower="vision", **options)[:, 5]
    assert bool((found < 0).all()) if name == "difference" else not found.any()


@EVERY_METHOD
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_column_without_a_valid_pair_scores_zero(name: str, options: dict[str, Any], value: float) -> None:
    weight, sides = clean()
    sides[0][:, :, 2] = value
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 4, "empty_columns": 1, "zero_rows": 0}
    found = score(name, weight, *sides, tower="vision", **options)
    assert not found[:, 2].any()
    assert bool(found[:, [0, 1, 3, 4, 5]].all())


@EVERY_METHOD
def test_a_row_of_zero_weights_scores_zero(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    weight[1] = 0
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 0, "empty_columns": 0, "zero_rows": 1}
    assert not score(name, weight, *sides, tower="vision", **options)[1].any()


@EVERY_METHOD
@pytest.mark.parametrize("tokens", [0, 1])
@pytest.mark.parametrize("side", [1, 3], ids=["safe", "unsafe"])
def test_a_pair_with_fewer_than_two_real_tokens_is_left_out(
    name: str, options: dict[str, Any], side: int, tokens: int
) -> None:
    weight, sides = clean()
    sides[side][1, tokens:] = False
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == weight.shape[1]
    without = score(name, weight, *(x[[0, 2, 3]] for x in sides), tower="vision", **options)
    torch.testing.assert_close(score(name, weight, *sides, tower="vision", **options), without)


@EVERY_METHOD
def test_no_valid_pair_at_all_scores_zero_everywhere(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[0][:] = 0
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert not found.any()
    assert notes == {"cells_left_out": 24, "empty_columns": 6, "zero_rows": 0}
