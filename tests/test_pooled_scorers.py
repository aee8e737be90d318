"""Scorers of pooled inputs against float64 loops written from their equations, and where they are degenerate."""

from __future__ import annotations

from typing import Any

import naive
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_samples import clean, pairs, run, scorer, site_of
from pooled_samples import EVERY_POOLED, EVERY_RATIO, METHODS, naive_score
from torch import Tensor

from editkit.errors import RecipeError
from editkit.testing import score

IMPORTANCES = pytest.mark.parametrize("importance", ["mean", "rms", "std"])


def batches_of(sides: list[Tensor], size: int) -> Any:
    return [tuple(x[start : start + size] for x in sides) for start in range(0, len(sides[0]), size)]


# the equations


@EVERY_POOLED
@given(
    b=st.integers(1, 5),
    t=st.integers(2, 6),
    t_u=st.integers(2, 6),
    o=st.integers(1, 5),
    i=st.integers(1, 6),
    tower=st.sampled_from(["text", "vision"]),
    seed=st.integers(0, 10_000),
)
def test_scores_equal_loops_over_single_tokens(
    name: str, options: dict[str, Any], b: int, t: int, t_u: int, o: int, i: int, tower: Any, seed: int
) -> None:
    made = pairs(seed=seed, b=b, t=t, t_u=t_u, o=o, i=i)
    found = score(name, *made, tower=tower, **options)
    assert found.dtype == torch.float32
    assert found.shape == made[0].shape
    assert naive.relative(found, naive_score(name, *made, **options)) <= 1e-5


@EVERY_POOLED
def test_one_token_per_sample_is_enough(name: str, options: dict[str, Any]) -> None:
    made = pairs(b=6, t=2, t_u=2)
    for mask in (made[2], made[4]):
        mask[:] = torch.tensor([True, False])
    found = score(name, *made, **options)
    assert bool((found > 0).all())
    assert naive.relative(found, naive_score(name, *made, **options)) <= 1e-5


def test_wanda_and_multiflow_of_a_hand_worked_case() -> None:
    weight, x = torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[[3.0, 0.0]], [[4.0, 2.0]]])  # norms 5 and 2
    given = weight, torch.zeros_like(x), None, x, None
    assert score("wanda", *given).tolist() == [[5, 4], [15, 0]]
    # outputs (5 + 4) / 2 and 15 / 2; inputs 5 * 4 / 2 and 2 * 2 / 2
    assert score("multiflow", *given).tolist() == [[4.5 * 10 * 1, 4.5 * 2 * 2], [7.5 * 10 * 3, 0]]


@pytest.mark.parametrize(
    ("importance", "expected"), [("mean", 4 / 2), ("rms", (17 / 5) ** 0.5), ("std", (2 / 8) ** 0.5)]
)
def test_neuron_ratio_of_a_hand_worked_case(importance: str, expected: float) -> None:
    unsafe, safe = torch.tensor([[[5.0], [3.0]]]), torch.tensor([[[1.0]], [[-3.0]]])
    found = score("neuron-ratio", torch.ones(2, 1), safe, None, unsafe, None, importance=importance)
    torch.testing.assert_close(found, torch.full((2, 1), expected))


def test_the_defaults_are_the_unsafe_side_and_the_mean() -> None:
    made = pairs()
    for name in ("wanda", "multiflow"):
        assert torch.equal(score(name, *made), score(name, *made, side="unsafe"))
    assert torch.equal(score("neuron-ratio", *made), score("neuron-ratio", *made, importance="mean"))


@pytest.mark.parametrize(
    ("name", "options"),
    [("wanda", {"side": "both"}), ("wanda-ratio", {"side": "safe"}), ("neuron-ratio", {"importance": "max"})],
)
def test_an_option_that_there_is_not_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"scorer\.{next(iter(options))}"):
        score(name, *pairs(), **options)


# precision and memory


@EVERY_POOLED
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_accumulate_in_full(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    weight, sides = clean(b=8, t=40, t_u=50)
    sides[0], sides[2] = (sides[0] * 100 + 300).to(dtype), (sides[2] * 100 - 200).to(dtype)  # squares exceed fp16
    found = score(name, weight, *sides, **options)
    assert naive.relative(found, naive_score(name, weight, *sides, **options)) <= 1e-5


@EVERY_POOLED
def test_many_pairs_in_many_batches_lose_no_precision(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean(b=1000, t=3, t_u=4, o=2, i=3)
    found, _ = run(scorer(name, **options), weight, batches_of(sides, 40))
    assert naive.relative(found, naive_score(name, weight, *sides, **options)) <= 1e-6


@pytest.mark.parametrize("tokens", [1, 5])
def test_a_small_spread_beside_a_large_mean_is_measured(tokens: int) -> None:
    weight, sides = clean(b=64)
    sides = [x[:, :tokens] for x in sides]
    sides[0] = sides[0] * 0.01 + 1000  # float32 steps of 6e-5 there
    sides[2] = sides[2] * 0.02 - 1000
    found, notes = run(scorer("neuron-ratio", importance="std"), weight, batches_of(sides, 8))
    assert notes["empty_columns"] == 0
    assert naive.relative(found, naive_score("neuron-ratio", weight, *sides, importance="std")) <= 1e-3


@EVERY_POOLED
def test_a_state_is_sums_no_longer_than_the_inputs(name: str, options: dict[str, Any]) -> None:
    weight = pairs(o=7, i=6)[0]
    state = scorer(name, **options).start(weight, site_of(weight))
    assert {tensor.numel() for tensor in state.values()} <= {1, 6}
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert not any(tensor.any() for tensor in state.values())


def test_scoring_changes_neither_weight_nor_inputs() -> None:
    made = pairs()
    before = [tensor.clone() for tensor in made]
    for name, options in METHODS:
        score(name, *made, **options)
    assert all(torch.equal(old, new) for old, new in zip(before, made, strict=True))


# what is degenerate


@EVERY_POOLED
def test_nothing_degenerate_is_counted_where_nothing_is(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    _, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert not any(notes.values())


@EVERY_POOLED
def test_all_zero_inputs_score_zero_everywhere(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    for x in (sides[0], sides[2]):
        x.zero_()
    assert torch.equal(score(name, weight, *sides, **options), torch.zeros_like(weight))


@EVERY_POOLED
def test_constant_weights_and_alike_inputs_tell_no_weight_apart(name: str, options: dict[str, Any]) -> None:
    _, sides = clean()
    alike = [sides[0][:, :, :1].expand(-1, -1, 6), sides[1], sides[2][:, :, :1].expand(-1, -1, 6), sides[3]]
    found = score(name, torch.full((3, 6), -0.5), *alike, **options)
    assert float(found[0, 0]) > 0
    torch.testing.assert_close(found, found[:1, :1].expand(3, 6))


@EVERY_RATIO
def test_a_column_silent_on_the_safe_side_scores_zero_and_is_counted(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[0][:, :, 2] = 0
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert notes == {"empty_columns": 1, "zero_rows": 0}
    assert not found[:, 2].any()
    assert bool(found[:, [0, 1, 3, 4, 5]].all())


@EVERY_RATIO
def test_a_column_silent_on_the_unsafe_side_scores_zero_and_is_not_counted(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[2][:, :, 2] = 0
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert notes == {"empty_columns": 0, "zero_rows": 0}
    assert not found[:, 2].any()


@EVERY_POOLED
def test_a_row_of_zero_weights_scores_zero_and_is_counted(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    weight[1] = 0
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert notes["zero_rows"] == 1
    assert not found[1].any()
    assert bool(found[[0, 2]].all())
    assert naive.relative(found, naive_score(name, weight, *sides, **options)) <= 1e-5


@EVERY_POOLED
def test_a_sample_without_real_tokens_adds_nothing(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    kept = [x[[0, 2, 3]] for x in sides[2:]]
    sides[3][1] = False
    sides[2][1] = float("nan")
    expected = score(name, weight, *sides[:2], *kept, **options)
    torch.testing.assert_close(score(name, weight, *sides, **options), expected)


@EVERY_RATIO
def test_a_safe_side_of_denormals_gives_a_finite_score(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean(b=2)
    weight *= 1e6
    sides[0][:, :, 2] *= 1e-22
    sides[0][:, :, 3] *= 1e-43
    found = score(name, weight, *sides, **options)
    assert bool(torch.isfinite(found).all())
    assert bool((found[:, 2] > found[:, 1] * 1e15).all())


# constant channels, which have no standard deviation


@pytest.mark.parametrize("value", [1000.0, 0.1, -0.3, 1e-4, 12345.678])
@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_channel_constant_on_the_safe_side_has_an_undefined_std(value: float, size: int) -> None:
    weight, sides = clean(b=300, t=9, t_u=3)  # 0.1 added 9 times is not 0.9 in any binary format
    sides[0][:, :, 2] = value
    sides[1] &= torch.arange(9) < torch.arange(300)[:, None] % 9 + 1
    found, notes = run(scorer("neuron-ratio", importance="std"), weight, batches_of(sides, size))
    assert notes == {"empty_columns": 1, "zero_rows": 0}
    assert not found[:, 2].any()
    assert bool(found[:, [0, 1, 3, 4, 5]].all())


@pytest.mark.parametrize("importance", ["mean", "rms"])
def test_a_constant_channel_has_a_mean_and_an_rms(importance: str) -> None:
    weight, sides = clean()
    sides[0][:, :, 2] = -1000
    sides[2][:, :, 2] = 500
    found = score("neuron-ratio", weight, *sides, importance=importance)
    torch.testing.assert_close(found[:, 2], torch.full((3,), 0.5))


@pytest.mark.parametrize("value", [1000.0, 0.1])
def test_a_channel_constant_on_the_unsafe_side_has_a_std_of_zero(value: float) -> None:
    weight, sides = clean(b=50)
    sides[2][:, :, 2] = value
    found, notes = run(scorer("neuron-ratio", importance="std"), weight, batches_of(sides, 1))
    assert notes["empty_columns"] == 0
    assert not found[:, 2].any()


def test_a_channel_constant_in_each_sample_varies_between_samples() -> None:
    weight, sides = clean(b=40)
    sides[0][:, :, 2] = 1000 + 0.01 * torch.arange(40.0)[:, None]
    found = score("neuron-ratio", weight, *sides, importance="std")
    assert naive.relative(found, naive_score("neuron-ratio", weight, *sides, importance="std")) <= 1e-5


@IMPORTANCES
def test_a_single_token_in_all_has_a_size_but_no_spread(importance: str) -> None:
    weight, x = torch.ones(2, 3), torch.full((1, 1, 3), 0.1)
    found = score("neuron-ratio", weight, x, None, 2 * x, None, importance=importance)
    torch.testing.assert_close(found, torch.zeros(2, 3) if importance == "std" else torch.full((2, 3), 2.0))
