"""The losses of gradient scorers against float64 loops, and their gradients against finite differences of the loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from typing import Any, Literal, get_args

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.protocols import LossEmbeddings
from editkit.methods.scorers.losses import LOGIT_SCALE, alignment, g_safe_clip, g_unsafe, pull, sample_loss

Array = Any
Item = Literal["own_safe", "own_unsafe", "other_safe", "other_unsafe"]
ITEMS: tuple[Item, ...] = get_args(Item)

# the equations, one number at a time


def cos(a: Array, b: Array) -> float:
    return sum(float(a[d]) * float(b[d]) for d in range(len(a)))


def naive_g_unsafe_cross_modal(e: dict[str, Array]) -> float:
    total = 0.0
    for b in range(len(e["own_safe"])):
        total += (1 - cos(e["own_safe"][b], e["other_unsafe"][b])) - (1 - cos(e["own_safe"][b], e["other_safe"][b]))
    return total / len(e["own_safe"])


def naive_g_unsafe_same_modal(e: dict[str, Array]) -> float:
    total = 0.0
    for b in range(len(e["own_safe"])):
        total += (1 - cos(e["own_safe"][b], e["own_unsafe"][b])) - (1 - cos(e["own_safe"][b], e["other_safe"][b]))
    return total / len(e["own_safe"])


def naive_g_safe_clip(e: dict[str, Array]) -> float:
    safe, unsafe, twin = e["own_safe"], e["other_unsafe"], e["own_unsafe"]
    tuples = range(len(safe))
    rows = columns = distance = 0.0
    for b in tuples:
        right = exp(exp(4.6052) * cos(safe[b], unsafe[b]))
        rows -= log(right / sum(exp(exp(4.6052) * cos(safe[b], unsafe[k])) for k in tuples))
        columns -= log(right / sum(exp(exp(4.6052) * cos(safe[k], unsafe[b])) for k in tuples))
        distance += 1 - cos(safe[b], twin[b])
    return (rows + columns) / 2 / len(safe) + distance / len(safe)


LOSSES: dict[str, tuple[Callable[[LossEmbeddings], Tensor], Callable[[dict[str, Array]], float]]] = {
    "g-unsafe": (lambda e: g_unsafe(e, "cross-modal"), naive_g_unsafe_cross_modal),
    "g-unsafe-same": (lambda e: g_unsafe(e, "same-modal"), naive_g_unsafe_same_modal),
    "g-safe-clip": (g_safe_clip, naive_g_safe_clip),
}
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES)
SHAPES = {"b": st.integers(1, 6), "d": st.integers(1, 9), "seed": st.integers(0, 10_000)}


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1)


def embedded(*, seed: int = 0, b: int = 4, d: int = 6, dtype: torch.dtype = torch.float64) -> LossEmbeddings:
    """Normalised embeddings of B tuples; those of one item lie in a cone, so that no logit dwarfs the others."""
    draw = torch.Generator().manual_seed(seed)
    cone = torch.randn(d, generator=draw, dtype=torch.float64)
    items = (unit(cone + 0.2 * torch.randn(b, d, generator=draw, dtype=torch.float64)).to(dtype) for _ in ITEMS)
    return LossEmbeddings(*items)


def arrays(e: LossEmbeddings) -> dict[str, Array]:
    return {item: naive.float64(getattr(e, item)).copy() for item in ITEMS}


def rows(e: LossEmbeddings, chosen: list[int] | slice) -> LossEmbeddings:
    return LossEmbeddings(*(getattr(e, item)[chosen] for item in ITEMS))


@EVERY_LOSS
@given(**SHAPES)
def test_a_loss_equals_loops_over_tuples_and_dimensions(loss: str, b: int, d: int, seed: int) -> None:
    fast, slow = LOSSES[loss]
    exact = embedded(seed=seed, b=b, d=d)
    assert fast(exact).shape == ()
    assert float(fast(exact)) == pytest.approx(slow(arrays(exact)), rel=1e-12, abs=1e-12)
    single = embedded(seed=seed, b=b, d=d, dtype=torch.float32)
    assert fast(single).dtype == torch.float32
    assert float(fast(single)) == pytest.approx(slow(arrays(single)), rel=1e-5, abs=1e-5)


@given(**SHAPES)
def test_a_sample_loss_equals_loops_over_samples_and_dimensions(b: int, d: int, seed: int) -> None:
    e = embedded(seed=seed, b=b, d=d)
    own, other, twin = e.own_safe, e.other_safe, e.other_unsafe
    near = [1 - cos(own[k], other[k]) for k in range(b)]
    far = [1 - cos(own[k], twin[k]) for k in range(b)]
    assert np.allclose(alignment(own, other), near, rtol=0, atol=1e-14)
    assert np.allclose(pull(own, other, twin), np.subtract(far, near), rtol=0, atol=1e-14)
    assert torch.equal(sample_loss("alignment", own, other, twin), alignment(own, other))
    assert torch.equal(sample_loss("g-unsafe", own, other, twin), pull(own, other, twin))


# gradients


def gradients(loss: str, e: LossEmbeddings) -> dict[str, Tensor | None]:
    leaves = {item: getattr(e, item).clone().requires_grad_() for item in ITEMS}
    LOSSES[loss][0](LossEmbeddings(**leaves)).backward()  # type: ignore[no-untyped-call]
    return {item: leaf.grad for item, leaf in leaves.items()}


@EVERY_LOSS
@pytest.mark.parametrize(("b", "d"), [(1, 1), (1, 5), (2, 1), (3, 4), (5, 3)])
def test_the_gradient_of_the_safe_items_equals_finite_differences(loss: str, b: int, d: int) -> None:
    e = embedded(seed=b * 10 + d, b=b, d=d)
    found = gradients(loss, e)["own_safe"]
    assert found is not None
    step = 1e-6
    for k in range(b):
        for j in range(d):
            values = []
            for sign in (1, -1):
                moved = arrays(e)
                moved["own_safe"][k, j] += sign * step
                values.append(LOSSES[loss][1](moved))
            assert float(found[k, j]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("loss", "detached"),
    [("g-unsafe-same", {"own_unsafe"}), ("g-safe-clip", {"own_unsafe", "other_unsafe", "other_safe"})],
)
def test_no_gradient_reaches_what_is_detached(loss: str, detached: set[str]) -> None:
    found = gradients(loss, embedded())
    assert found["own_safe"] is not None
    assert all(found[item] is None for item in detached)


def test_only_safe_items_of_the_tower_scored_receive_gradients_of_g_unsafe() -> None:
    assert gradients("g-unsafe", embedded())["own_unsafe"] is None


@pytest.mark.parametrize("name", ["alignment", "g-unsafe"])
def test_a_sample_loss_is_of_its_own_sample_only(name: Any) -> None:
    e = embedded(b=3)
    own = e.own_safe.clone().requires_grad_()
    for k in range(3):
        found = torch.autograd.grad(sample_loss(name, own, e.other_safe, e.other_unsafe)[k], own)[0]
        assert found.abs().sum(dim=1).nonzero().flatten().tolist() == [k]


# laws


@EVERY_LOSS
def test_the_order_of_tuples_does_not_matter(loss: str) -> None:
    e, fast = embedded(b=5), LOSSES[loss][0]
    assert float(fast(rows(e, [3, 0, 4, 2, 1]))) == pytest.approx(float(fast(e)), rel=1e-12)


@pytest.mark.parametrize("loss", ["g-unsafe", "g-unsafe-same"])
def test_g_unsafe_of_a_batch_is_the_mean_of_its_parts(loss: str) -> None:
    e, fast = embedded(b=5), LOSSES[loss][0]
    parts = 2 * fast(rows(e, slice(0, 2))) + 3 * fast(rows(e, slice(2, 5)))
    assert float(fast(e)) == pytest.approx(float(parts) / 5, rel=1e-12)


def test_g_safe_clip_contrasts_a_tuple_with_the_others_of_its_batch() -> None:
    e = embedded(b=4)
    parts = (g_safe_clip(rows(e, slice(0, 2))) + g_safe_clip(rows(e, slice(2, 4)))) / 2
    assert float(g_safe_clip(e)) > float(parts) + 0.1


def test_g_safe_clip_of_one_tuple_is_its_distance_alone() -> None:
    e = embedded(b=1)
    assert float(g_safe_clip(e)) == pytest.approx(1 - cos(e.own_safe[0], e.own_unsafe[0]), rel=1e-12)


def test_g_safe_clip_of_a_collapsed_model_is_chance() -> None:
    same = torch.ones(8, 1)
    assert float(g_safe_clip(LossEmbeddings(same, same, same, same))) == pytest.approx(log(8), rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_g_safe_clip_is_finite_in_float32_where_every_logit_is_extreme(sign: int) -> None:
    safe = torch.eye(3)
    found = g_safe_clip(LossEmbeddings(safe, safe, safe, sign * safe))
    assert float(found) == pytest.approx(0 if sign > 0 else LOGIT_SCALE + log(2), abs=1e-4)


def test_logits_are_multiplied_by_a_hundred() -> None:
    assert pytest.approx(100, abs=0.01) == LOGIT_SCALE
    near = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    tilt = unit(torch.tensor([[1.01, 1.0], [1.0, 1.01]], dtype=torch.float64))
    gap = float(tilt[0, 0] - tilt[0, 1])
    found = g_safe_clip(LossEmbeddings(near, near, near, tilt))
    assert float(found) == pytest.approx(log(1 + exp(-exp(4.6052) * gap)), rel=1e-12)


def test_targets_differ_in_the_modality_of_the_unsafe_item() -> None:
    e = embedded()
    swapped = replace(e, own_unsafe=e.other_unsafe)
    assert float(g_unsafe(e, "same-modal")) != pytest.approx(float(g_unsafe(e, "cross-modal")), rel=1e-3)
    assert torch.equal(g_unsafe(swapped, "same-modal"), g_unsafe(swapped, "cross-modal"))


def test_g_unsafe_falls_as_safe_items_move_to_the_unsafe_ones() -> None:
    e = embedded(d=9)
    ways = torch.linspace(0, 1, 5, dtype=torch.float64)
    path = [replace(e, own_safe=unit((1 - way) * e.other_safe + way * e.other_unsafe)) for way in ways]
    values = [float(g_unsafe(step, "cross-modal")) for step in path]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0 > values[-1]


def test_the_pull_of_unsafe_samples_mirrors_that_of_safe_ones() -> None:
    e = embedded()
    assert torch.equal(pull(e.own_safe, e.other_safe, e.other_unsafe), -pull(e.own_safe, e.other_unsafe, e.other_safe))
    mirrored = LossEmbeddings(e.own_unsafe, e.own_safe, e.other_unsafe, e.other_safe)
    found = pull(e.own_unsafe, e.other_unsafe, e.other_safe).mean()
    assert torch.equal(found, g_unsafe(mirrored, "cross-modal"))


def test_a_sample_that_equals_its_counterpart_is_aligned() -> None:
    own = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert alignment(own, other).tolist() == [0, 1, 2]


@EVERY_LOSS
def test_a_loss_changes_no_embedding(loss: str) -> None:
    e = embedded()
    before = arrays(e)
    LOSSES[loss][0](e)
    assert all(np.array_equal(before[item], naive.float64(getattr(e, item))) for item in ITEMS)
