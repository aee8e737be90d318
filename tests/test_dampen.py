"""Dampening: each selected weight times min(strength / ratio, 1), and never more than it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from manipulator_samples import (
    EVERY_DTYPE,
    EVERY_SHAPE,
    HALF_A_STEP,
    Sample,
    build,
    manipulate,
    same_bits,
    sample,
    spec_of,
)
from torch import Tensor

from editkit.errors import RecipeError
from editkit.methods.manipulators.options import DampenOptions


def ratios(shape: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    found = torch.randn(shape, generator=draw).mul(3).exp()
    found.view(-1)[::4] = 0
    return found


def some(shape: tuple[int, int]) -> Tensor:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(6)) < 0.7
    mask.view(-1)[-1] = True
    return mask


def dampened(made: Sample, ratio: Tensor, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    context = {"other_scores": {"fisher": {made.site: ratio}}}
    new = manipulate("dampen", made, mask=mask, bias=made.bias, context=context, **options)
    assert set(new) == {"weight"}
    return new["weight"]


@EVERY_SHAPE
@EVERY_DTYPE
@pytest.mark.parametrize("strength", [0.1, 1.0, 7.0])
def test_dampen_is_the_equation_weight_by_weight(shape: tuple[int, int], dtype: torch.dtype, strength: float) -> None:
    made, ratio, mask = sample(shape, dtype=dtype), ratios(shape), some(shape)
    new = dampened(made, ratio, mask=mask, strength=strength)
    for o in range(shape[0]):
        for i in range(shape[1]):
            theta, r = float(made.weight[o, i]), float(ratio[o, i])
            factor = min(strength / r, 1) if r != 0 and mask[o, i] else 1
            expected = theta * factor
            assert float(new[o, i]) == pytest.approx(expected, rel=HALF_A_STEP[dtype] + 2.0**-22, abs=1e-7)
            if dtype == torch.float64:
                assert float(new[o, i]) == pytest.approx(expected, rel=1e-15, abs=0)
            if factor == 1:
                assert same_bits(new[o, i], made.weight[o, i])


def test_the_product_is_rounded_once() -> None:
    made = sample((40, 50), dtype=torch.bfloat16)
    ratio = torch.full((40, 50), 3.0)
    assert torch.equal(dampened(made, ratio), (made.weight.float() * (1 / torch.tensor(3.0))).bfloat16())


@EVERY_DTYPE
def test_a_ratio_of_zero_and_a_ratio_below_the_strength_leave_every_bit(dtype: torch.dtype) -> None:
    made = sample((8, 9), dtype=dtype)
    made.weight[0, :2] = torch.tensor([0.0, -0.0])
    assert same_bits(dampened(made, torch.zeros(8, 9)), made.weight)
    assert same_bits(dampened(made, torch.full((8, 9), 0.99)), made.weight)
    assert same_bits(dampened(made, torch.full((8, 9), 5.0), strength=5), made.weight)


def test_weights_that_are_not_selected_keep_every_bit_whatever_their_ratio() -> None:
    made = sample((8, 9), dtype=torch.float16)
    mask = some((8, 9))
    new = dampened(made, torch.full((8, 9), 100.0), mask=mask)
    assert same_bits(new[~mask], made.weight[~mask])
    assert bool((new[mask] != made.weight[mask]).all())


def test_twice_the_strength_is_half_the_ratio() -> None:
    made, ratio = sample((8, 9)), ratios((8, 9))
    assert torch.equal(dampened(made, ratio, strength=2), dampened(made, ratio / 2, strength=1))


def test_weights_shrink_with_the_ratio_and_keep_their_sign() -> None:
    made, ratio = sample((8, 9)), ratios((8, 9)) + 0.1
    less, more = dampened(made, ratio), dampened(made, ratio * 3)
    assert bool((more.abs() <= less.abs()).all())
    assert bool((less.abs() <= made.weight.abs()).all())
    assert torch.equal(more.sign(), made.weight.sign())
    assert not torch.equal(more, less)


def test_dampen_asks_for_the_fisher_ratio_of_its_loss() -> None:
    asked = spec_of("dampen").other_scorers
    assert asked(DampenOptions()) == {"fisher": {"name": "fisher-ratio", "loss": "alignment"}}
    assert asked(DampenOptions(loss="g-unsafe"))["fisher"]["loss"] == "g-unsafe"


@pytest.mark.parametrize("strength", [0, -1, float("inf"), float("nan")])
def test_the_strength_must_be_above_zero(strength: float) -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.strength = "):
        build("dampen", strength=strength)
