"""Ablating inputs to their safe mean: columns of zeros, and a bias that makes up for them at the safe mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from manipulator_samples import EVERY_DTYPE, EVERY_SHAPE, manipulate, same_bits, sample, spec_of
from torch import Tensor

from editkit.components.spec import NoOptions
from editkit.errors import SiteError


def columns(shape: tuple[int, int], *chosen: int) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, list(chosen)] = True
    return mask


@EVERY_SHAPE
@pytest.mark.parametrize("step", [1, 2, 3])
def test_mean_ablate_is_the_equation_number_by_number(shape: tuple[int, int], step: int) -> None:
    made, chosen = sample(shape), range(0, shape[1], step)
    new = manipulate("mean-ablate", made, mask=columns(shape, *chosen), bias=made.bias)
    mean = made.means.safe
    for o in range(shape[0]):
        folded = float(made.bias[o]) + sum(float(made.weight[o, i]) * float(mean[i]) for i in chosen)
        assert float(new["bias"][o]) == pytest.approx(folded, abs=1e-14)
        for i in range(shape[1]):
            assert float(new["weight"][o, i]) == (0 if i in chosen else float(made.weight[o, i]))


@pytest.mark.parametrize("shape", [(64, 96), (1, 96), (64, 1)])
def test_the_output_at_the_safe_mean_stays_to_1e_6_in_float32(shape: tuple[int, int]) -> None:
    made = sample(shape, dtype=torch.float32)
    chosen = torch.rand(shape[1], generator=torch.Generator().manual_seed(3)) < 0.5
    chosen[0] = True
    new = manipulate("mean-ablate", made, mask=chosen.expand(shape).clone(), bias=made.bias)
    at_mean = made.means.safe
    before = made.weight.double() @ at_mean + made.bias.double()
    after = new["weight"].double() @ at_mean + new["bias"].double()
    assert float((after - before).norm() / before.norm()) <= 1e-6
    assert not torch.equal(new["weight"], made.weight)


def test_selected_inputs_have_no_effect_afterwards() -> None:
    made = sample((3, 4))
    new = manipulate("mean-ablate", made, mask=columns((3, 4), 1, 3), bias=made.bias)
    x = made.safe[0].clone()
    before = new["weight"] @ x
    x[[1, 3]] = 1e9
    assert torch.equal(new["weight"] @ x, before)


@EVERY_DTYPE
def test_columns_that_are_not_selected_keep_every_bit(dtype: torch.dtype) -> None:
    made = sample((6, 7), dtype=dtype)
    made.weight[0, 0] = -0.0
    new = manipulate("mean-ablate", made, mask=columns((6, 7), 2, 5), bias=made.bias)
    kept = [0, 1, 3, 4, 6]
    assert same_bits(new["weight"][:, kept], made.weight[:, kept])
    assert not new["weight"][:, [2, 5]].any()


@EVERY_DTYPE
def test_the_bias_is_summed_in_float64_and_rounded_once(dtype: torch.dtype) -> None:
    made = sample((6, 70), dtype=dtype)
    mask = torch.ones(6, 70, dtype=torch.bool)
    exact = made.bias.double() + made.weight.double() @ made.means.safe
    new = manipulate("mean-ablate", made, mask=mask, bias=made.bias)["bias"]
    torch.testing.assert_close(new, exact.to(dtype), rtol=1e-15 if dtype == torch.float64 else 0, atol=1e-14)


def test_ablating_in_two_steps_is_ablating_at_once() -> None:
    made = sample((3, 4))
    first = manipulate("mean-ablate", made, mask=columns((3, 4), 0), bias=made.bias)
    half = type(made)(made.site, first["weight"], first["bias"], made.safe, made.unsafe)
    second = manipulate("mean-ablate", half, mask=columns((3, 4), 2), bias=half.bias)
    once = manipulate("mean-ablate", made, mask=columns((3, 4), 0, 2), bias=made.bias)
    assert torch.equal(second["weight"], once["weight"])
    torch.testing.assert_close(second["bias"], once["bias"])


def test_no_selected_column_changes_nothing() -> None:
    made = sample((3, 4))
    new = manipulate("mean-ablate", made, mask=columns((3, 4)), bias=made.bias)
    assert same_bits(new["weight"], made.weight)
    assert same_bits(new["bias"], made.bias)


def test_a_site_without_a_bias_is_refused() -> None:
    with pytest.raises(SiteError, match=r"text:mlp\.out\[0\] has no bias") as caught:
        spec_of("mean-ablate").check_site(replace(sample((3, 4)).site, bias=None), NoOptions())
    assert str(caught.value).count("\n") == 1


def test_a_column_selected_in_part_is_refused() -> None:
    made, mask = sample((3, 4)), columns((3, 4), 0)
    mask[1, 1] = mask[2, 3] = True
    with pytest.raises(SiteError, match=r"2 of the 4 inputs of text:mlp\.out\[0\] are selected in part") as caught:
        manipulate("mean-ablate", made, mask=mask, bias=made.bias)
    assert caught.value.remedy == "Use the selector units with selector.axis inputs."
