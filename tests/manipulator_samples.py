"""For tests of manipulators: pairs of inputs at one site, their moments as loops, and what fits to them minimise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editkit.components.choice import validate_options
from editkit.components.load import default_host
from editkit.components.protocols import ManipulationContext
from editkit.components.site import Role, Site
from editkit.components.specs import ManipulatorSpec
from editkit.components.statistics import Moments

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "fp16", "bf16", "fp64"])
SHAPES = [(3, 4), (1, 4), (3, 1), (1, 1), (6, 2), (2, 7)]
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=[f"{o}x{i}" for o, i in SHAPES])
HALF_A_STEP = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float64: 2.0**-50}
"""Largest relative error of one rounding (float64: of the arithmetic before it)."""


@dataclass(frozen=True)
class Sample:
    """A site's weight [O, I] and bias [O], and inputs [B, I] float64 on the two sides of B pairs."""

    site: Site
    weight: Tensor
    bias: Tensor
    safe: Tensor
    unsafe: Tensor

    @property
    def means(self) -> Moments:
        return Moments(len(self.safe), mean_of(self.safe), mean_of(self.unsafe))

    @property
    def moments(self) -> Moments:
        return moments_of(self.weight, self.safe, self.unsafe)


def sample(
    shape: tuple[int, int] = (3, 4),
    *,
    pairs: int = 9,
    dtype: torch.dtype = torch.float64,
    role: Role = "mlp.out",
    seed: int = 0,
) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    outputs, inputs = shape
    normal = [torch.randn(size, generator=draw, dtype=torch.float64) for size in ((*shape,), (outputs,))]
    safe = torch.randn(pairs, inputs, generator=draw, dtype=torch.float64) + 0.5
    unsafe = safe + torch.randn(pairs, inputs, generator=draw, dtype=torch.float64) - 1
    site = Site("text", 0, role, "layer", "layer.weight", shape, bias="layer.bias")
    return Sample(site, normal[0].to(dtype), normal[1].to(dtype), safe, unsafe)


def mean_of(x: Tensor) -> Tensor:
    """Mean over rows, one number at a time."""
    return torch.tensor([sum(column) / len(x) for column in x.T.tolist()], dtype=torch.float64)


def moments_of(weight: Tensor, safe: Tensor, unsafe: Tensor) -> Moments:
    """Moments of pairs, one number at a time."""
    pairs, inputs = safe.shape

    def second(x: Tensor, y: Tensor) -> Tensor:
        rows = [
            [sum(float(a[i]) * float(b[k]) for a, b in zip(x, y, strict=True)) / pairs for k in range(inputs)]
            for i in range(inputs)
        ]
        return torch.tensor(rows, dtype=torch.float64)

    norm = sum(float((weight.double() @ row).norm()) for row in safe) / pairs
    return Moments(
        pairs, mean_of(safe), mean_of(unsafe), second(safe, safe), second(unsafe, unsafe), second(safe, unsafe), norm
    )


def objective(
    new: Tensor,
    made: Sample,
    wanted: Tensor,
    *,
    preserve: float,
    ridge: float,
    preserved: Tensor | None = None,
    preserve_weight: float = 1.0,
) -> Tensor:
    """What `pair_fit` minimises, pair by pair, with `wanted` [B, O] the places where unsafe outputs should land.

    `preserved` [n, I] are inputs that belong to no pair.
    """
    pairs, inputs = made.safe.shape
    total, trace = torch.zeros((), dtype=torch.float64), 0.0
    for s, u, t in zip(made.safe, made.unsafe, wanted, strict=True):
        total = total + (new @ u - t).square().sum() + preserve * (new @ s - made.weight @ s).square().sum()
        trace += float(u @ u + preserve * (s @ s))
    total, trace = total / pairs, trace / pairs
    for x in [] if preserved is None else preserved:
        total = total + preserve_weight * (new @ x - made.weight @ x).square().sum() / len(preserved)  # type: ignore[arg-type]
        trace += preserve_weight * float(x @ x) / len(preserved)  # type: ignore[arg-type]
    return total + ridge * trace / inputs * (new - made.weight).square().sum()


def minimum(made: Sample, wanted: Tensor, **terms: Any) -> Tensor:
    """Where LBFGS ends on that objective, starting from the weight."""
    new = made.weight.clone().requires_grad_()
    steps = torch.optim.LBFGS(
        [new], max_iter=300, tolerance_grad=1e-11, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        steps.zero_grad()
        found = objective(new, made, wanted, **terms)
        found.backward()
        return found

    steps.step(loss)
    return new.detach()


def spec_of(name: str) -> ManipulatorSpec:
    return default_host().resolve(ManipulatorSpec, name)


def build(name: str, **options: Any) -> Any:
    """The registered manipulator `name` with options checked as a recipe's are."""
    spec = spec_of(name)
    return spec.load()(validate_options(spec.options, options, "manipulator"))


def manipulate(
    name: str,
    made: Sample,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    context: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """What the manipulator makes of a sample, with the moments its spec asks for where no context is given.

    Checks that it left its arguments alone and kept shapes and dtypes.
    """
    mask = torch.ones(made.site.shape, dtype=torch.bool) if mask is None else mask
    if context is None:
        context = {"moments": {made.site: made.moments if "second-moments" in spec_of(name).needs else made.means}}
    arguments = [made.weight, mask, *([] if bias is None else [bias])]
    before = [tensor.clone() for tensor in arguments]
    new = dict(build(name, **options).apply(made.site, made.weight, bias, mask, ManipulationContext(**context)))
    assert all(same_bits(tensor, held) for tensor, held in zip(arguments, before, strict=True))
    assert set(new) <= {"weight", "bias"}
    for key, old in (("weight", made.weight), ("bias", bias)):
        if key in new:
            assert old is not None
            assert (new[key].shape, new[key].dtype) == (old.shape, old.dtype)
            assert new[key].data_ptr() != old.data_ptr()
    return new


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in every bit: 0.0 is not -0.0 here."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return np.array_equal(*(x.contiguous().flatten().view(torch.uint8).numpy() for x in (one, other)))
