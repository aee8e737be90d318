"""Blending with another checkpoint: exact at both ends, monotone between, and rounded once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from manipulator_samples import DTYPES, EVERY_DTYPE, EVERY_SHAPE, Sample, build, manipulate, same_bits, sample, spec_of
from torch import Tensor

from editkit.errors import ModelError, RecipeError
from editkit.methods.manipulators.options import BlendOptions


def other_of(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return sample(shape, dtype=dtype, seed=1).weight


def blended(made: Sample, other: Tensor, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    context = {"other_weights": {made.site: other}}
    new = manipulate("blend", made, mask=mask, bias=made.bias, context=context, model="other/model", **options)
    assert set(new) == {"weight"}
    return new["weight"]


@EVERY_SHAPE
@EVERY_DTYPE
@pytest.mark.parametrize("amount", [0.0, 0.25, 0.3, 0.9, 1.0])
def test_blend_is_the_equation_weight_by_weight(shape: tuple[int, int], dtype: torch.dtype, amount: float) -> None:
    made, other = sample(shape, dtype=dtype), other_of(shape, dtype)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.6
    new = blended(made, other, mask=mask, amount=amount)
    for o in range(shape[0]):
        for i in range(shape[1]):
            mine, theirs = float(made.weight[o, i]), float(other[o, i])
            if not mask[o, i]:
                assert same_bits(new[o, i], made.weight[o, i])
                continue
            expected = (1 - amount) * mine + amount * theirs
            error = torch.finfo(dtype).eps * (abs(mine) + abs(theirs))  # what cancels keeps the terms' rounding
            assert abs(float(new[o, i]) - expected) <= error


@EVERY_DTYPE
@pytest.mark.parametrize("dtype_of_other", DTYPES)
def test_blend_with_amount_one_is_the_other_checkpoint_bit_for_bit(
    dtype: torch.dtype, dtype_of_other: torch.dtype
) -> None:
    made, other = sample((6, 7), dtype=dtype), other_of((6, 7), dtype_of_other)
    made.weight[0, 0], other[0, 0] = 0.0, -0.0
    assert same_bits(blended(made, other, amount=1), other.to(dtype))
    assert same_bits(blended(made, other), other.to(dtype))  # the default


@EVERY_DTYPE
def test_blend_with_amount_zero_changes_no_bit(dtype: torch.dtype) -> None:
    made, other = sample((6, 7), dtype=dtype), other_of((6, 7), torch.float32)
    made.weight[0, 0], other[0, 0] = -0.0, 1.0
    assert same_bits(blended(made, other, amount=0), made.weight)


@EVERY_DTYPE
@pytest.mark.parametrize("amount", [0.1, 0.3, 0.7])
def test_a_weight_that_the_other_checkpoint_shares_keeps_every_bit(dtype: torch.dtype, amount: float) -> None:
    made = sample((60, 70), dtype=dtype)
    made.weight[0, :2] = torch.tensor([0.0, -0.0])
    assert same_bits(blended(made, made.weight.clone(), amount=amount), made.weight)


def test_blending_from_the_other_side_is_the_same_blend() -> None:
    made, other = sample((6, 7)), other_of((6, 7), torch.float64)
    back = Sample(made.site, other, made.bias, made.safe, made.unsafe)
    torch.testing.assert_close(blended(made, other, amount=0.25), blended(back, made.weight, amount=0.75))


def test_a_larger_amount_comes_nearer_to_the_other_checkpoint() -> None:
    made, other = sample((6, 7)), other_of((6, 7), torch.float64)
    distances = [(blended(made, other, amount=amount) - other).abs() for amount in (0.1, 0.5, 0.8)]
    assert bool((distances[0] > distances[1]).all() and (distances[1] > distances[2]).all())


def test_halves_are_blended_in_float32_and_rounded_once() -> None:
    made, other = sample((60, 70), dtype=torch.bfloat16), other_of((60, 70), torch.bfloat16)
    expected = (0.7 * made.weight.float() + 0.3 * other.float()).bfloat16()
    assert torch.equal(blended(made, other, amount=0.3), expected)
    assert not torch.equal(0.7 * made.weight + 0.3 * other, expected)


def test_a_finer_dtype_of_the_other_checkpoint_counts() -> None:
    made = sample((1, 1), dtype=torch.float16)
    made.weight.fill_(1)
    other = torch.tensor([[1 + 2.0**-10 + 2.0**-12]])  # in half precision it would be 1 + 2^-10, and the blend 1
    assert float(blended(made, other, amount=0.5)) == 1 + 2.0**-10


def test_float64_is_blended_in_float64() -> None:
    made, other = sample((6, 7)), other_of((6, 7), torch.float64)
    assert torch.equal(blended(made, other, amount=0.3), 0.7 * made.weight + 0.3 * other)


def test_blend_names_the_checkpoint_that_the_engine_must_read() -> None:
    assert spec_of("blend").other_checkpoint(BlendOptions(model="folder/of/weights")) == "folder/of/weights"


def test_another_shape_is_an_error_and_never_broadcast() -> None:
    with pytest.raises(ModelError, match=r"text:mlp\.out\[0\] is \[3, 4\] here and \[1, 4\] in other/model") as caught:
        blended(sample((3, 4)), torch.zeros(1, 4))
    assert str(caught.value).count("\n") == 1


@EVERY_DTYPE
@pytest.mark.parametrize("amount", [-1.0, -0.3, 1.5, 2.0])
def test_beyond_zero_and_one_it_adds_a_multiple_of_what_the_other_checkpoint_changed(
    dtype: torch.dtype, amount: float
) -> None:
    made, other = sample((6, 7), dtype=dtype), other_of((6, 7), dtype)
    expected = made.weight.double() + amount * (other.double() - made.weight.double())
    new = blended(made, other, amount=amount)
    sizes = (abs(1 - amount) * made.weight.double()).abs() + (amount * other.double()).abs()
    assert bool(((new.double() - expected).abs() <= 2 * torch.finfo(dtype).eps * sizes).all())


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_the_amount_is_a_number(amount: float) -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.amount = "):
        build("blend", model="m", amount=amount)


def test_blend_needs_another_checkpoint() -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.model"):
        build("blend")
