"""Laws that every scorer of pairs obeys: padding, scale, equal sides, the order of pairs and their batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_samples import EVERY_METHOD, pairs, run, scorer, site_of

from editkit.components.inputs import Inputs
from editkit.testing import score


@EVERY_METHOD
@pytest.mark.parametrize("padding", [0.0, -7.0, 1e30, float("inf"), float("nan")])
def test_what_stands_in_padding_changes_nothing(name: str, options: dict[str, Any], padding: float) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    filled = [torch.where(m[:, :, None], x, padding) for x, m in ((safe, safe_mask), (unsafe, unsafe_mask))]
    assert torch.equal(score(name, weight, filled[0], safe_mask, filled[1], unsafe_mask, **options), expected)


@EVERY_METHOD
def test_padding_may_stand_in_front(name: str, options: dict[str, Any]) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score(name, weight, safe, safe_mask, unsafe, unsafe_mask, **options)
    turned = [x.flip(1) for x in (safe, safe_mask, unsafe, unsafe_mask)]
    torch.testing.assert_close(score(name, weight, *turned, **options), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["pairs", "means"])
@given(power=st.integers(-8, 8))
def test_scaling_both_sides_alike_leaves_the_ratio(aggregation: str, power: int) -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    factor = 2.0**power  # a power of two scales float32 exactly
    expected = score("uwm", weight, safe, safe_mask, unsafe, unsafe_mask, aggregation=aggregation)
    scaled = score("uwm", weight, safe * factor, safe_mask, unsafe * factor, unsafe_mask, aggregation=aggregation)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-6)


def test_scaling_the_unsafe_side_alone_scales_the_ratio() -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    expected = score("uwm", weight, safe, safe_mask, unsafe, unsafe_mask)
    # z_u enters twice and s_u divides once
    torch.testing.assert_close(score("uwm", weight, safe, safe_mask, unsafe * 4, unsafe_mask), expected * 4)


def test_equal_sides_have_a_ratio_of_one_everywhere() -> None:
    weight, safe, safe_mask, _, _ = pairs()
    for aggregation in ("pairs", "means"):
        found = score("uwm", weight, safe, safe_mask, safe, safe_mask, tower="vision", aggregation=aggregation)
        torch.testing.assert_close(found, torch.ones_like(weight))
    assert not score("difference", weight, safe, safe_mask, safe, safe_mask).any()


@EVERY_METHOD
@given(order=st.permutations(range(6)))
def test_permuting_pairs_changes_nothing(name: str, options: dict[str, Any], order: list[int]) -> None:
    weight, *sides = pairs(b=6)
    expected = score(name, weight, *sides, **options)
    torch.testing.assert_close(score(name, weight, *(x[order] for x in sides), **options), expected)


@EVERY_METHOD
@given(cuts=st.sets(st.integers(1, 6)))
def test_splitting_batches_changes_nothing(name: str, options: dict[str, Any], cuts: set[int]) -> None:
    weight, *sides = pairs(b=7)
    bounds = [0, *sorted(cuts), 7]
    batches = [tuple(x[a:b] for x in sides) for a, b in pairwise(bounds)]
    whole, whole_notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    split, split_notes = run(scorer(name, **options), weight, batches)  # type: ignore[arg-type]
    torch.testing.assert_close(split, whole)
    assert split_notes == whole_notes


@EVERY_METHOD
def test_the_states_of_two_processes_add(name: str, options: dict[str, Any]) -> None:
    weight, *sides = pairs(b=5)
    made, states = scorer(name, **options), []
    for rows in (slice(0, 2), slice(2, 5)):
        state = made.start(weight, site_of(weight))
        safe, safe_mask, unsafe, unsafe_mask = (x[rows] for x in sides)
        made.update(state, weight, Inputs(safe, safe_mask), Inputs(unsafe, unsafe_mask))
        states.append(state)
    added = {key: states[0][key] + states[1][key] for key in states[0]}
    expected, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    torch.testing.assert_close(made.finish(added, weight, site_of(weight)), expected)
    assert made.notes(added, weight) == notes
