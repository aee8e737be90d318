"""What selected weights become, in every dtype, and that nothing else moves by a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editkit.components.choice import validate_options
from editkit.components.load import default_host
from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.specs import ManipulatorSpec
from editkit.errors import RecipeError
from editkit.files.bits import to_bits

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "fp16", "bf16", "fp64"])
SITE = Site("text", 0, "mlp.out", "layer", "layer.weight", (32, 48))
DIGITS = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8, torch.float64: 53}


def manipulate(name: str, weight: Tensor, mask: Tensor, **options: Any) -> Any:
    spec = default_host().resolve(ManipulatorSpec, name)
    made = spec.load()(validate_options(spec.options, options, "manipulator"))
    return made.apply(SITE, weight, torch.ones(32, dtype=weight.dtype), mask, ManipulationContext())


def weight_and_mask(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 48, generator=draw, dtype=torch.float64).to(dtype)
    weight[0, :4] = torch.tensor([0.0, -0.0, torch.finfo(dtype).tiny, torch.finfo(dtype).max], dtype=dtype)
    return weight, torch.rand(32, 48, generator=draw) < 0.3


@EVERY_DTYPE
@pytest.mark.parametrize(
    ("name", "options", "factor"),
    [
        ("scale", {}, -1.0),
        ("scale", {"alpha": 0}, 0.0),
        ("scale", {"alpha": 0.5}, 0.5),
        ("scale", {"alpha": -0.25}, -0.25),
        ("negate", {}, -1.0),
        ("zero", {}, 0.0),
    ],
)
def test_selected_weights_are_multiplied_exactly(
    dtype: torch.dtype, name: str, options: dict[str, Any], factor: float
) -> None:
    weight, mask = weight_and_mask(dtype)
    new = manipulate(name, weight, mask, **options)["weight"]
    assert new.dtype == dtype
    normal = mask & (weight.abs() > 8 * torch.finfo(dtype).tiny)  # a power of two loses nothing there
    assert torch.equal(new[normal].double(), weight[normal].double() * factor)


@EVERY_DTYPE
@pytest.mark.parametrize("name", ["scale", "negate", "zero"])
def test_weights_that_are_not_selected_keep_every_bit(dtype: torch.dtype, name: str) -> None:
    weight, mask = weight_and_mask(dtype)
    new = manipulate(name, weight, mask)["weight"]
    kept = ~mask.numpy()
    assert np.array_equal(to_bits(new)[kept], to_bits(weight)[kept])
    assert not np.array_equal(to_bits(new), to_bits(weight))


@EVERY_DTYPE
@pytest.mark.parametrize("alpha", [0.3, -1.7, 1.001, 3.14159])
def test_the_product_is_rounded_to_the_dtype_once(dtype: torch.dtype, alpha: float) -> None:
    weight, mask = weight_and_mask(dtype)
    weight[0, :4] = 1
    new = manipulate("scale", weight, mask, alpha=alpha)["weight"]
    factor = alpha if dtype == torch.float64 else float(np.float32(alpha))
    exact = weight[mask].double().numpy() * factor
    spacing = 2.0 ** (np.floor(np.log2(np.abs(exact))) + 1 - DIGITS[dtype])
    error = np.abs(new[mask].double().numpy() - exact)
    assert (error <= spacing * 0.501).all()  # a factor rounded to half precision first would be off by whole steps


@EVERY_DTYPE
def test_negating_twice_restores_every_bit(dtype: torch.dtype) -> None:
    weight, mask = weight_and_mask(dtype)
    twice = manipulate("negate", manipulate("negate", weight, mask)["weight"], mask)["weight"]
    assert np.array_equal(to_bits(twice), to_bits(weight))


@pytest.mark.parametrize("name", ["scale", "negate", "zero"])
def test_the_bias_and_the_weight_given_are_left_alone(name: str) -> None:
    weight, mask = weight_and_mask(torch.float32)
    before = weight.clone()
    new = manipulate(name, weight, mask)
    assert set(new) == {"weight"}
    assert torch.equal(weight, before)


def test_scale_negates_by_default() -> None:
    weight, mask = weight_and_mask(torch.float32)
    assert torch.equal(manipulate("scale", weight, mask)["weight"], manipulate("negate", weight, mask)["weight"])


def test_alpha_one_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.alpha = 1: alpha 1 leaves every weight as it is") as caught:
        manipulate("scale", *weight_and_mask(torch.float32), alpha=1)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("alpha", [float("inf"), float("nan"), "half"])
def test_alpha_must_be_a_finite_number(alpha: Any) -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.alpha = "):
        manipulate("scale", *weight_and_mask(torch.float32), alpha=alpha)


@pytest.mark.parametrize("name", ["negate", "zero"])
def test_the_presets_take_no_alpha(name: str) -> None:
    with pytest.raises(RecipeError, match=r"manipulator\.alpha is not an option here"):
        manipulate(name, *weight_and_mask(torch.float32), alpha=-1)
