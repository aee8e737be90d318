"""Projecting the unsafe direction out of a site's outputs, weight and bias."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from manipulator_samples import EVERY_DTYPE, EVERY_SHAPE, Sample, manipulate, same_bits, sample
from torch import Tensor

from editkit.errors import RecipeError, SiteError


def direction(made: Sample) -> Tensor:
    """The unit vector between mean outputs, from every output with its bias."""
    outputs = [
        torch.stack([made.weight.double() @ x + made.bias.double() for x in xs]) for xs in (made.safe, made.unsafe)
    ]
    difference = outputs[1].mean(dim=0) - outputs[0].mean(dim=0)
    return difference / difference.norm()


@EVERY_SHAPE
@pytest.mark.parametrize("beta", [1.0, 0.5, 2.0, -1.0])
def test_project_is_the_equation_number_by_number(shape: tuple[int, int], beta: float) -> None:
    made = sample(shape)
    new, r = manipulate("project", made, bias=made.bias, beta=beta), direction(made).tolist()
    for o in range(shape[0]):
        along = sum(r[k] * float(made.bias[k]) for k in range(shape[0]))
        assert float(new["bias"][o]) == pytest.approx(float(made.bias[o]) - beta * r[o] * along, abs=1e-13)
        for i in range(shape[1]):
            along = sum(r[k] * float(made.weight[k, i]) for k in range(shape[0]))
            expected = float(made.weight[o, i]) - beta * r[o] * along
            assert float(new["weight"][o, i]) == pytest.approx(expected, abs=1e-13)


@EVERY_SHAPE
def test_with_beta_one_no_output_differs_from_another_along_the_unsafe_direction(shape: tuple[int, int]) -> None:
    made = sample(shape)
    new, r = manipulate("project", made, bias=made.bias), direction(made)
    for x in (*made.safe, *made.unsafe):
        assert float(r @ (new["weight"] @ x + new["bias"])) == pytest.approx(0, abs=1e-12)


def test_what_is_orthogonal_to_the_direction_passes_unchanged() -> None:
    made = sample((5, 4))
    r = direction(made)
    orthogonal = torch.eye(5, dtype=torch.float64) - torch.outer(r, r)
    new = manipulate("project", made, bias=made.bias)
    torch.testing.assert_close(orthogonal @ new["weight"], orthogonal @ made.weight)


def test_projecting_twice_changes_nothing_more_and_reflecting_twice_is_the_start() -> None:
    made = sample((5, 4))
    r = direction(made)
    reflected = replace(made, weight=manipulate("project", made, beta=2)["weight"])
    torch.testing.assert_close(manipulate("project", reflected, beta=2)["weight"], made.weight)
    half = replace(made, weight=manipulate("project", made, beta=0.5)["weight"])
    torch.testing.assert_close(r @ half.weight, r @ made.weight / 2)


def test_beta_zero_changes_nothing() -> None:
    made = sample((5, 4))
    assert torch.equal(manipulate("project", made, beta=0)["weight"], made.weight)


@EVERY_SHAPE
def test_neither_the_distance_of_the_means_nor_the_sides_matter(shape: tuple[int, int]) -> None:
    made = sample(shape)
    expected = manipulate("project", made)["weight"]
    scaled = replace(made, safe=made.safe * 7, unsafe=made.unsafe * 7)
    swapped = replace(made, safe=made.unsafe, unsafe=made.safe)
    for variant in (scaled, swapped):
        torch.testing.assert_close(manipulate("project", variant)["weight"], expected)


def test_a_site_without_bias_gets_none() -> None:
    assert set(manipulate("project", sample())) == {"weight"}


@EVERY_DTYPE
def test_project_is_solved_in_float64_and_rounded_once(dtype: torch.dtype) -> None:
    made = sample((6, 7), dtype=dtype)
    wide = replace(made, weight=made.weight.double(), bias=made.bias.double())
    found, exact = (manipulate("project", each, bias=each.bias) for each in (made, wide))
    for key in ("weight", "bias"):
        assert same_bits(found[key], exact[key].to(dtype))


def test_equal_means_are_refused() -> None:
    made = sample()
    with pytest.raises(SiteError, match=r"Safe and unsafe means are equal at text:mlp\.out\[0\]") as caught:
        manipulate("project", replace(made, unsafe=made.safe))
    assert str(caught.value).count("\n") == 1


def test_means_that_differ_only_where_the_weight_is_zero_are_refused() -> None:
    made = sample((3, 4))
    made.weight[:, 2] = 0
    unsafe = made.safe.clone()
    unsafe[:, 2] += 1
    with pytest.raises(SiteError, match="means are equal"):
        manipulate("project", replace(made, unsafe=unsafe))


@pytest.mark.parametrize("beta", [float("inf"), float("nan"), "all"])
def test_beta_must_be_a_finite_number(beta: object) -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.beta = "):
        manipulate("project", sample(), beta=beta)
