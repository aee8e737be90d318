"""Redirecting unsafe inputs to where their safe twins go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from manipulator_samples import EVERY_DTYPE, EVERY_SHAPE, manipulate, minimum, same_bits, sample, spec_of

from editkit.methods.manipulators.options import PairFitOptions


@EVERY_SHAPE
@EVERY_DTYPE
def test_redirect_where_unsafe_equals_safe_returns_the_weight_bit_for_bit(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    made = sample(shape, dtype=dtype)
    made.weight.view(-1)[0] = -0.0
    twins = replace(made, unsafe=made.safe)
    assert same_bits(manipulate("redirect", twins)["weight"], made.weight)


@EVERY_SHAPE
@pytest.mark.parametrize(("preserve", "ridge"), [(0.0, 0.1), (1.0, 0.01), (3.0, 1.0)])
def test_redirect_minimises_its_objective(shape: tuple[int, int], preserve: float, ridge: float) -> None:
    made = sample(shape)
    wanted = made.safe @ made.weight.T  # [B, O]
    found = manipulate("redirect", made, preserve=preserve, ridge=ridge)["weight"]
    torch.testing.assert_close(found, minimum(made, wanted, preserve=preserve, ridge=ridge), rtol=1e-6, atol=1e-8)


def test_an_offset_along_an_input_that_safe_samples_do_not_use_is_taken_out() -> None:
    made = sample((3, 5), pairs=30)
    safe = made.safe.clone()
    safe[:, 4] = 0
    unsafe = safe.clone()
    unsafe[:, 4] = 1
    told = replace(made, safe=safe, unsafe=unsafe)
    new = manipulate("redirect", told, ridge=1e-9)["weight"]
    torch.testing.assert_close(new @ unsafe.T, made.weight @ safe.T, rtol=0, atol=1e-6)
    torch.testing.assert_close(new @ safe.T, made.weight @ safe.T, rtol=0, atol=1e-6)
    only = manipulate("redirect", told, null_space=1e-9)["weight"]
    torch.testing.assert_close(only[:, :4], made.weight[:, :4], rtol=0, atol=1e-12)
    assert float(only[:, 4].norm()) < 0.1 * float(made.weight[:, 4].norm())


def test_scaling_the_weight_scales_the_edit() -> None:
    made = sample()
    tripled = replace(made, weight=made.weight * 3)
    torch.testing.assert_close(manipulate("redirect", tripled)["weight"], manipulate("redirect", made)["weight"] * 3)


def test_permuting_pairs_changes_nothing_but_breaking_them_up_does() -> None:
    made = sample()
    turned = torch.arange(8, -1, -1)
    expected = manipulate("redirect", made)["weight"]
    reordered = replace(made, safe=made.safe[turned], unsafe=made.unsafe[turned])
    torch.testing.assert_close(manipulate("redirect", reordered)["weight"], expected)
    broken = replace(made, unsafe=made.unsafe[turned])
    assert not torch.allclose(manipulate("redirect", broken)["weight"], expected, rtol=1e-3)


@EVERY_DTYPE
def test_redirect_is_solved_in_float64_and_rounded_once(dtype: torch.dtype) -> None:
    made = sample((6, 7), dtype=dtype)
    exact = manipulate("redirect", replace(made, weight=made.weight.double()))["weight"]
    found = manipulate("redirect", made, bias=made.bias)
    assert set(found) == {"weight"}
    assert same_bits(found["weight"], exact.to(dtype))


def test_the_default_objective_is_the_documented_one() -> None:
    made = sample()
    ridge = 0.0125 * (4 / 9) ** 1.5  # four inputs, nine pairs
    given = manipulate("redirect", made, preserve=1, ridge=ridge, null_space=None, order="together")["weight"]
    assert torch.equal(manipulate("redirect", made)["weight"], given)


def test_the_engine_is_told_to_go_site_by_site_where_that_is_asked_for() -> None:
    assert spec_of("redirect").sequential(PairFitOptions()) is False
    assert spec_of("redirect").sequential(PairFitOptions(order="sequential")) is True
