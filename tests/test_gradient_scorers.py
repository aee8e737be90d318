"""Scorers of gradients against float64 loops, on random gradients: their laws and their degenerate cases."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
import torch
from gradient_samples import BATCHED, SAMPLED, batched, draw, sampled
from hypothesis import given
from hypothesis import strategies as st
from pair_samples import scorer, site_of
from torch import Tensor

Array = Any
EVERY_SCORER = pytest.mark.parametrize("name", BATCHED + SAMPLED)
EVERY_BATCHED = pytest.mark.parametrize("name", BATCHED)
EVERY_SAMPLED = pytest.mark.parametrize("name", SAMPLED)
SIZES = {"o": st.integers(1, 5), "i": st.integers(1, 6), "n": st.integers(1, 6), "seed": st.integers(0, 10_000)}

# the equations, one number at a time


def naive_batched(name: str, gradients: Array, tuples: list[int]) -> Array:
    """`gradient` or `salun` from the gradients [n, O, I] of n batches."""
    count, outputs, inputs = gradients.shape
    result = np.zeros((outputs, inputs))
    for o in range(outputs):
        for i in range(inputs):
            total = 0.0
            for b in range(count):
                total += tuples[b] * (abs(gradients[b, o, i]) if name == "gradient" else gradients[b, o, i])
            result[o, i] = abs(total) / sum(tuples)
    return result


def naive_sampled(name: str, weight: Array, safe: Array, unsafe: Array) -> Array:
    """`snip` (unsafe side) or `fisher-ratio` from gradients [n, O, I] of single samples."""
    outputs, inputs = weight.shape
    result = np.zeros((outputs, inputs))
    for o in range(outputs):
        for i in range(inputs):
            if name == "snip":
                result[o, i] = sum(abs(weight[o, i] * g[o, i]) for g in unsafe) / len(unsafe)
                continue
            of_safe, of_unsafe = (sum(g[o, i] ** 2 for g in side) / len(side) for side in (safe, unsafe))
            result[o, i] = of_unsafe / of_safe if of_safe > 0 else 0
    return result


def close(found: Tensor, expected: Array, rtol: float = 1e-5, floor: float = 1e-6) -> bool:
    assert (found.dtype, tuple(found.shape)) == (torch.float32, expected.shape)
    return np.allclose(naive.float64(found), expected, rtol=rtol, atol=floor)


@EVERY_BATCHED
@given(**SIZES)
def test_scores_of_batches_equal_loops(name: str, o: int, i: int, n: int, seed: int) -> None:
    gradients = draw(n, o, i, seed=seed)
    tuples = [1 + (seed + 3 * b) % 7 for b in range(n)]
    found = batched(scorer(name), draw(o, i), list(zip(gradients, tuples, strict=True)))
    assert close(found, naive_batched(name, naive.float64(gradients), tuples))


@EVERY_SAMPLED
@given(m=st.integers(1, 6), **SIZES)
def test_scores_of_samples_equal_loops(name: str, o: int, i: int, n: int, m: int, seed: int) -> None:
    weight, safe, unsafe = draw(o, i, seed=seed), draw(n, o, i, seed=seed + 1), draw(m, o, i, seed=seed + 2)
    found = sampled(scorer(name), weight, [safe], [unsafe])
    assert close(found, naive_sampled(name, *map(naive.float64, (weight, safe, unsafe))))


# laws of sums


@EVERY_BATCHED
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (4, 3)])
def test_a_batch_counts_as_its_number_of_tuples(name: str, shape: tuple[int, int]) -> None:
    first, second, weight = draw(*shape, seed=1), draw(*shape, seed=2), draw(*shape)
    whole = batched(scorer(name), weight, [(first, 4), (second, 1)])
    single = batched(scorer(name), weight, [(first, 1)] * 4 + [(second, 1)])
    torch.testing.assert_close(whole, single)
    assert naive.relative(batched(scorer(name), weight, [(first, 1), (second, 1)]), whole) > 1e-3


@EVERY_SAMPLED
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (4, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_sizes_of_chunks_change_not_one_bit(name: str, shape: tuple[int, int], size: int) -> None:
    weight, safe, unsafe = draw(*shape), draw(7, *shape, seed=1), draw(7, *shape, seed=2)
    whole = sampled(scorer(name), weight, [safe], [unsafe])
    assert torch.equal(
        sampled(scorer(name), weight, list(torch.split(safe, size)), list(torch.split(unsafe, size))), whole
    )


@EVERY_BATCHED
def test_the_order_of_batches_does_not_matter(name: str) -> None:
    batches = [(draw(3, 4, seed=b), b + 1) for b in range(5)]
    weight = draw(3, 4)
    torch.testing.assert_close(batched(scorer(name), weight, batches[::-1]), batched(scorer(name), weight, batches))


@EVERY_SAMPLED
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    weight, safe, unsafe = draw(3, 4), draw(6, 3, 4, seed=1), draw(6, 3, 4, seed=2)
    turned = sampled(scorer(name), weight, [safe.flip(0)], [unsafe.flip(0)])
    torch.testing.assert_close(turned, sampled(scorer(name), weight, [safe], [unsafe]))


def feed(name: str, made: Any, state: dict[str, Tensor], weight: Tensor, seed: int) -> None:
    if name in BATCHED:
        made.update(state, weight, draw(3, 4, seed=seed), seed + 2)
        return
    for offset, side in enumerate(made.sides):
        made.update(state, weight, side, draw(seed + 2, 3, 4, seed=2 * seed + offset))


@EVERY_SCORER
def test_the_states_of_two_processes_add(name: str) -> None:
    weight, made = draw(3, 4), scorer(name)
    together, first, second = (made.start(weight, site_of(weight)) for _ in range(3))
    for seed, own in ((1, first), (2, second)):
        feed(name, made, own, weight, seed)
        feed(name, made, together, weight, seed)
    added = {key: first[key] + second[key] for key in first}
    assert added.keys() == together.keys()
    finished = made.finish(added, weight, site_of(weight))
    torch.testing.assert_close(finished, made.finish(together, weight, site_of(weight)))
    assert naive.relative(made.finish(first, weight, site_of(weight)), finished) > 1e-3


@EVERY_SCORER
def test_a_state_does_not_grow_and_nothing_given_is_changed(name: str) -> None:
    weight, made = draw(3, 4), scorer(name)
    gradients = draw(3, 4) if name in BATCHED else draw(5, 3, 4)
    kept = weight.clone(), gradients.clone()
    state = made.start(weight, site_of(weight))
    sizes = []
    for _ in range(3):
        arguments = (gradients, 5) if name in BATCHED else (made.sides[0], gradients)
        made.update(state, weight, *arguments)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in state.values()))
    before = {key: tensor.clone() for key, tensor in state.items()}
    made.finish(state, weight, site_of(weight))
    assert len(set(sizes)) == 1
    assert torch.equal(weight, kept[0])
    assert torch.equal(gradients, kept[1])
    assert all(torch.equal(state[key], before[key]) for key in state)


@EVERY_SCORER
def test_a_view_of_a_fused_or_transposed_tensor_scores_alike(name: str) -> None:
    weight, made = draw(3, 4), scorer(name)
    states = []
    for view in (weight, weight.T.contiguous().T):
        states.append(made.start(view, site_of(view)))
        feed(name, made, states[-1], view, 1)
    found = [made.finish(state, weight, site_of(weight)) for state in states]
    assert torch.equal(*found)


# laws of scores


@EVERY_BATCHED
def test_scores_of_batches_scale_with_the_loss(name: str) -> None:
    batches = [(draw(3, 4, seed=b), 2) for b in range(3)]
    weight = draw(3, 4)
    scaled = batched(scorer(name), weight, [(-4 * gradient, tuples) for gradient, tuples in batches])
    assert torch.equal(scaled, 4 * batched(scorer(name), weight, batches))


@EVERY_BATCHED
def test_a_constant_gradient_scores_its_magnitude(name: str) -> None:
    found = batched(
        scorer(name), torch.ones(3, 4), [(torch.full((3, 4), -0.5), 64)] * 3 + [(torch.full((3, 4), -0.5), 7)]
    )
    assert torch.equal(found, torch.full((3, 4), 0.5))


def test_opposite_gradients_cancel_in_salun_and_add_in_gradient() -> None:
    opposite = [(torch.ones(2, 3), 5), (-torch.ones(2, 3), 5)]
    assert not batched(scorer("salun"), torch.ones(2, 3), opposite).any()
    assert torch.equal(batched(scorer("gradient"), torch.ones(2, 3), opposite), torch.ones(2, 3))


def test_snip_is_the_magnitude_times_the_mean_absolute_gradient() -> None:
    weight, constant = draw(3, 4), torch.full((6, 3, 4), 2.0)
    constant[::2] *= -1  # opposite signs do not cancel
    assert torch.equal(sampled(scorer("snip"), weight, [], [constant]), 2 * weight.abs())


def test_snip_of_a_zero_weight_is_zero() -> None:
    weight = draw(3, 4)
    weight[1, 2] = 0
    found = sampled(scorer("snip"), weight, [], [draw(5, 3, 4, seed=1)])
    assert (found == 0).nonzero().tolist() == [[1, 2]]


def test_one_sample_makes_snip_and_salun_agree_up_to_the_weight() -> None:
    weight, gradient = draw(3, 4), draw(3, 4, seed=1)
    one = batched(scorer("salun"), weight, [(gradient, 1)])
    torch.testing.assert_close(sampled(scorer("snip"), weight, [], [gradient[None]]), weight.abs() * one)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (3, 4)])
def test_the_fisher_ratio_of_equal_sides_is_one_and_grows_with_the_square(shape: tuple[int, int]) -> None:
    gradients = draw(6, *shape)
    ones = sampled(scorer("fisher-ratio"), torch.ones(shape), [gradients], [gradients])
    assert torch.equal(ones, torch.ones(shape))
    assert torch.equal(sampled(scorer("fisher-ratio"), torch.ones(shape), [gradients], [2 * gradients]), 4 * ones)


def test_the_fisher_ratio_compares_means_however_many_samples_a_side_has() -> None:
    gradients = draw(4, 3, 4)
    found = sampled(scorer("fisher-ratio"), torch.ones(3, 4), [gradients], [gradients] * 3)
    torch.testing.assert_close(found, torch.ones(3, 4))


def test_the_unit_of_the_loss_leaves_the_fisher_ratio() -> None:
    safe, unsafe = draw(6, 3, 4), draw(6, 3, 4, seed=1)
    plain, scaled = (
        sampled(scorer("fisher-ratio"), torch.ones(3, 4), [unit * safe], [unit * unsafe]) for unit in (1, 2.0**-40)
    )
    assert torch.equal(plain, scaled)


# degenerate


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (3, 4)])
@EVERY_SCORER
def test_gradients_of_zero_score_zero(name: str, shape: tuple[int, int]) -> None:
    weight, none = draw(*shape), torch.zeros(shape)
    made = scorer(name)
    if name in BATCHED:
        found = batched(made, weight, [(none, 8), (none, 3)])
    else:
        found = sampled(made, weight, [none.expand(4, *shape)], [none.expand(4, *shape)])
    assert torch.equal(found, none)


def fisher(safe: Tensor, unsafe: Tensor) -> tuple[Tensor, dict[str, int]]:
    made, weight = scorer("fisher-ratio"), torch.ones(safe.shape[1:])
    state = made.start(weight, site_of(weight))
    made.update(state, weight, "safe", safe)
    made.update(state, weight, "unsafe", unsafe)
    return made.finish(state, weight, site_of(weight)), made.notes(state, weight)


def test_weights_without_safe_information_score_zero_and_are_counted() -> None:
    safe, unsafe = draw(5, 3, 4), draw(5, 3, 4, seed=1)
    assert fisher(safe, unsafe)[1] == {"undefined_weights": 0}
    safe[:, 1, 2] = safe[:, 0, 3] = 0
    unsafe[:, 0, 3] = 0
    found, notes = fisher(safe, unsafe)
    assert (found == 0).nonzero().tolist() == [[0, 3], [1, 2]]
    assert notes == {"undefined_weights": 2}
    assert close(found, naive_sampled("fisher-ratio", np.ones((3, 4)), naive.float64(safe), naive.float64(unsafe)))


def test_weights_without_unsafe_information_score_zero_and_are_not_counted() -> None:
    unsafe = draw(5, 3, 4)
    unsafe[:, 2] = 0
    found, notes = fisher(draw(5, 3, 4, seed=1), unsafe)
    assert not found[2].any()
    assert bool((found[:2] > 0).all())
    assert notes == {"undefined_weights": 0}


@pytest.mark.parametrize(("size", "undefined"), [(1e-18, 0), (1e-20, 1), (1e-30, 1)])
def test_squares_too_small_for_float32_count_as_none(size: float, undefined: int) -> None:
    found, notes = fisher(torch.full((3, 1, 1), size), torch.full((3, 1, 1), 2 * size))
    assert notes == {"undefined_weights": undefined}
    assert float(found) == pytest.approx(0 if undefined else 4, rel=1e-5)


def test_a_quotient_too_large_for_float32_is_its_largest_number() -> None:
    found, _ = fisher(torch.full((2, 1, 1), 1e-15), torch.full((2, 1, 1), 1e10))
    assert float(found) == torch.finfo(torch.float32).max


@EVERY_SCORER
def test_a_gradient_that_is_not_a_number_is_not_hidden(name: str) -> None:
    weight, made = draw(3, 4), scorer(name)
    bad = draw(2, 3, 4)
    bad[1, 0, 1] = torch.nan
    found = batched(made, weight, [(g, 1) for g in bad]) if name in BATCHED else sampled(made, weight, [bad], [bad])
    assert torch.isnan(found).nonzero().tolist() == [[0, 1]]


def test_many_samples_lose_no_precision() -> None:
    weight, safe, unsafe = draw(2, 3), draw(4000, 2, 3, seed=1), draw(4000, 2, 3, seed=2)
    for name in SAMPLED:
        expected = naive_sampled(name, *map(naive.float64, (weight, safe, unsafe)))
        assert naive.relative(sampled(scorer(name), weight, [safe], [unsafe]), expected) <= 1e-5
