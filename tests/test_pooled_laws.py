"""Laws that scorers of pooled inputs obey: padding, scale, pairing, batches, and how they follow from each other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_samples import clean, pairs, run, scorer, site_of
from pooled_samples import EVERY_POOLED, EVERY_RATIO, METHODS, RATIOS

from editkit.components.inputs import Inputs
from editkit.testing import score

# what the sums are over


@EVERY_POOLED
@pytest.mark.parametrize("padding", [0.0, -7.0, 1e30, float("inf"), float("nan")])
def test_what_stands_in_padding_changes_nothing(name: str, options: dict[str, Any], padding: float) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    filled = [torch.where(m[:, :, None], x, padding) for x, m in ((safe, safe_mask), (unsafe, unsafe_mask))]
    assert torch.equal(score(name, weight, filled[0], safe_mask, filled[1], unsafe_mask, **options), expected)


@EVERY_POOLED
def test_no_mask_means_every_token(name: str, options: dict[str, Any]) -> None:
    weight, (safe, safe_mask, unsafe, unsafe_mask) = clean()
    found = score(name, weight, safe, None, unsafe, None, **options)
    assert torch.equal(found, score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options))


@EVERY_POOLED
@given(order=st.permutations(range(6)))
def test_permuting_pairs_changes_nothing(name: str, options: dict[str, Any], order: list[int]) -> None:
    weight, *sides = pairs(b=6)
    expected = score(name, weight, *sides, **options)
    torch.testing.assert_close(score(name, weight, *(x[order] for x in sides), **options), expected)


@EVERY_POOLED
def test_which_safe_sample_belongs_to_which_unsafe_one_does_not_matter(name: str, options: dict[str, Any]) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    torch.testing.assert_close(
        score(name, weight, safe.roll(1, 0), safe_mask.roll(1, 0), unsafe, unsafe_mask, **options), expected
    )


@EVERY_POOLED
def test_which_tokens_share_a_sample_does_not_matter(name: str, options: dict[str, Any]) -> None:
    weight, (safe, _, unsafe, _) = clean(b=4, t=6, t_u=6)
    alone = [x.reshape(24, 1, 6) for x in (safe, unsafe)]
    expected = score(name, weight, safe, None, unsafe, None, **options)
    torch.testing.assert_close(score(name, weight, alone[0], None, alone[1], None, **options), expected)


@EVERY_POOLED
@given(cuts=st.sets(st.integers(1, 6)))
def test_splitting_batches_changes_nothing(name: str, options: dict[str, Any], cuts: set[int]) -> None:
    weight, *sides = pairs(b=7)
    bounds = [0, *sorted(cuts), 7]
    batches = [tuple(x[a:b] for x in sides) for a, b in pairwise(bounds)]
    whole, whole_notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    split, split_notes = run(scorer(name, **options), weight, batches)  # type: ignore[arg-type]
    torch.testing.assert_close(split, whole)
    assert split_notes == whole_notes


@EVERY_POOLED
def test_the_states_of_two_processes_add(name: str, options: dict[str, Any]) -> None:
    weight, *sides = pairs(b=5)
    made, states = scorer(name, **options), []
    for rows in (slice(0, 2), slice(2, 5), slice(5, 5)):  # the last process had no pair
        state = made.start(weight, site_of(weight))
        if rows.start < rows.stop:
            safe, safe_mask, unsafe, unsafe_mask = (x[rows] for x in sides)
            made.update(state, weight, Inputs(safe, safe_mask), Inputs(unsafe, unsafe_mask))
        states.append(state)
    added = {key: states[0][key] + states[1][key] + states[2][key] for key in states[0]}
    expected, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    torch.testing.assert_close(made.finish(added, weight, site_of(weight)), expected)
    assert made.notes(added, weight) == notes


# scale


@EVERY_RATIO
@given(power=st.integers(-8, 8))
def test_scaling_both_sides_alike_leaves_a_ratio(name: str, options: dict[str, Any], power: int) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    factor = 2.0**power
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    scaled = score(name, weight, safe * factor, safe_mask, unsafe * factor, unsafe_mask, **options)
    torch.testing.assert_close(scaled, expected)


@pytest.mark.parametrize(
    ("name", "options", "degree"),
    [("wanda", {}, 1), ("multiflow", {}, 2), *((name, options, 1) for name, options in RATIOS)],
)
def test_scaling_the_unsafe_side_scales_the_score(name: str, options: dict[str, Any], degree: int) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options) * 4.0**degree
    torch.testing.assert_close(score(name, weight, safe, safe_mask, unsafe * 4, unsafe_mask, **options), expected)


@pytest.mark.parametrize(("name", "degree"), [("wanda", 1), ("multiflow", 3), ("wanda-ratio", 1), ("neuron-ratio", 0)])
def test_scaling_the_weight_scales_the_score_whatever_its_sign(name: str, degree: int) -> None:
    weight, *sides = pairs()
    expected = score(name, weight, *sides) * 2.0**degree
    torch.testing.assert_close(score(name, -2 * weight, *sides), expected)


@pytest.mark.parametrize(
    ("name", "options", "factor"),
    [("wanda", {}, 2), ("multiflow", {}, 4), *((name, options, 1) for name, options in RATIOS[:3])],
)
def test_seeing_every_pair_four_times_leaves_the_ranking(name: str, options: dict[str, Any], factor: float) -> None:
    weight, *sides = pairs()
    expected = score(name, weight, *sides, **options) * factor
    torch.testing.assert_close(score(name, weight, *(x.repeat_interleave(4, 0) for x in sides), **options), expected)


# sides


@EVERY_RATIO
def test_equal_sides_have_a_ratio_of_one(name: str, options: dict[str, Any]) -> None:
    weight, safe, safe_mask, _, _ = pairs()
    found = score(name, weight, safe, safe_mask, safe, safe_mask, **options)
    torch.testing.assert_close(found, weight.abs() if name == "wanda-ratio" else torch.ones_like(weight))


@EVERY_RATIO
def test_exchanging_the_sides_inverts_a_ratio(name: str, options: dict[str, Any]) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    weight = torch.ones_like(weight)
    found = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    torch.testing.assert_close(score(name, weight, unsafe, unsafe_mask, safe, safe_mask, **options), 1 / found)


@pytest.mark.parametrize("name", ["wanda", "multiflow"])
def test_a_scorer_of_one_side_does_not_see_the_other(name: str) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, side="unsafe")
    assert torch.equal(score(name, weight, safe * 9, safe_mask, unsafe, unsafe_mask, side="unsafe"), expected)
    assert torch.equal(score(name, weight, unsafe, unsafe_mask, safe, safe_mask, side="safe"), expected)


@EVERY_POOLED
def test_a_louder_unsafe_channel_never_lowers_its_score(name: str, options: dict[str, Any]) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    louder = unsafe.clone()
    louder[:, :, 2] *= 3
    before = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    after = score(name, weight, safe, safe_mask, louder, unsafe_mask, **options)
    if options.get("side") == "safe":
        assert torch.equal(after, before)
    else:
        assert bool((after[:, 2] > before[:, 2]).all())


# how they follow from each other


def test_wanda_ratio_is_the_ratio_of_wandas() -> None:
    weight, *sides = pairs()
    unsafe, safe = (score("wanda", weight, *sides, side=side) for side in ("unsafe", "safe"))
    torch.testing.assert_close(score("wanda-ratio", weight, *sides), weight.abs() * unsafe / safe)


def test_with_as_many_tokens_on_both_sides_wanda_ratio_is_the_weight_times_the_ratio_of_rms() -> None:
    weight, (safe, _, unsafe, _) = clean(t=7, t_u=7)
    rms = score("neuron-ratio", weight, safe, None, unsafe, None, importance="rms")
    torch.testing.assert_close(score("wanda-ratio", weight, safe, None, unsafe, None), weight.abs() * rms)


def test_multiflow_of_a_single_weight_is_its_cube_times_the_square_of_the_norm() -> None:
    weight, *sides = pairs(o=1, i=1)
    norm = score("wanda", torch.ones(1, 1), *sides)
    torch.testing.assert_close(score("multiflow", weight, *sides), weight.abs() ** 3 * norm**2)


def test_neuron_ratio_is_the_same_for_every_output() -> None:
    weight, *sides = pairs()
    for importance in ("mean", "rms", "std"):
        found = score("neuron-ratio", weight, *sides, importance=importance)
        assert torch.equal(found, found[:1].expand_as(found))
        assert len(found[0].unique()) == 6


def test_no_two_methods_agree() -> None:
    weight, *sides = pairs()
    found = [score(name, weight, *sides, **options) for name, options in METHODS]
    assert not any(torch.allclose(a, b) for k, a in enumerate(found) for b in found[:k])
