"""The overlap of two choices: counted by a loop, chance against a simulation, and sites found in their tensors."""

from __future__ import annotations

from collections.abc import Iterable
from math import comb, prod
from typing import Any

import numpy as np
import pytest
import torch

from editkit.components.site import Site
from editkit.editing.describe import describe_site
from editkit.errors import PatchError
from editkit.models.site_tensors import weight_of
from editkit.patch.change import Change
from editkit.patch.overlap import Overlap, Selection, TensorPart, compare, count, parts_of, total
from editkit.patch.patch import Patch

SHAPES = ((1, 1), (1, 7), (7, 1), (5, 6), (16, 9))
IN_TENSOR = [(None, False), ((2, 5), False), (None, True), ((2, 5), True)]
Sites = list[dict[str, Any]]


def choice(rng: np.random.Generator, size: int, share: float) -> np.ndarray[Any, Any]:
    return np.flatnonzero(rng.random(size) < share).astype("<u4")


def patch(
    chosen: dict[str, Iterable[int]], sites: Sites | None = None, *, shape: tuple[int, ...] = (6, 4), seed: int = 0
) -> Patch:
    """A patch of random float32 tensors of one shape that flips the sign of the chosen elements; nothing on disk."""
    changes, touched = {}, {}
    for key, places in chosen.items():
        before = np.random.default_rng(seed).integers(0, 1 << 32, prod(shape), dtype=np.uint32).reshape(shape)
        after = before.copy()
        after.reshape(-1)[list(places)] ^= 1 << 31
        change = Change.between(key, "F32", before, after)
        assert change is not None
        changes[key] = change
        touched[key] = {"dtype": "F32", "shape": list(shape), "before": f"{key} {seed}", "after": "-"}
    return Patch(changes, {"base": {"touched": touched}} | ({} if sites is None else {"sites": sites}))


def site(name: str, key: str = "w", shape: tuple[int, int] = (6, 4), **more: Any) -> dict[str, Any]:
    return {"site": name, "key": key, "shape": list(shape), **more}


def select(patch: Patch, name: str = "A") -> Selection:
    return Selection.of(patch, name)


# counts


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.0, 0.5), (0.3, 0.3), (0.1, 0.9), (1.0, 1.0)])
def test_counts_are_those_of_a_loop_over_all_weights(shape: tuple[int, int], shares: tuple[float, float]) -> None:
    rng, size = np.random.default_rng(0), prod(shape)
    a, b = (choice(rng, size, share) for share in shares)
    both = either = 0
    for place in range(size):
        both += place in a and place in b
        either += place in a or place in b
    found = count(a, b, size)
    assert (found.size, found.a, found.b, found.both) == (size, len(a), len(b), both)
    assert found.jaccard == (both / either if either else None)
    assert found.expected == pytest.approx(len(a) * len(b) / size)


def test_a_choice_overlaps_itself_wholly_and_its_complement_not_at_all() -> None:
    a = choice(np.random.default_rng(0), 100, 0.3)
    assert count(a, a, 100).jaccard == 1
    assert count(a, np.setdiff1d(np.arange(100), a), 100).jaccard == 0


def test_overlap_is_symmetric_and_does_not_depend_on_the_order_of_weights() -> None:
    rng = np.random.default_rng(0)
    a, b, order = choice(rng, 60, 0.4), choice(rng, 60, 0.2), rng.permutation(60)
    assert count(a, b, 60).both > 0
    assert count(a, b, 60).jaccard == count(b, a, 60).jaccard == count(order[a], order[b], 60).jaccard
    assert count(a, b, 60).chance == pytest.approx(count(b, a, 60).chance)


# chance


def test_chance_is_what_random_choices_of_these_sizes_reach() -> None:
    rng, size, a, b = np.random.default_rng(0), 2000, 300, 500
    drawn = [count(rng.choice(size, a, replace=False), rng.choice(size, b, replace=False), size) for _ in range(400)]
    reached = np.array([one.jaccard for one in drawn])
    error = reached.std() / len(reached) ** 0.5
    assert abs(reached.mean() - (drawn[0].chance or 0)) < 4 * error
    assert np.mean([one.both for one in drawn]) == pytest.approx(drawn[0].expected, rel=0.02)
    assert np.mean([one.times_chance for one in drawn]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [2, 9, 40])
def test_chance_is_below_the_expected_jaccard_by_a_small_part_that_shrinks_with_the_choice(size: int) -> None:
    for a in range(1, size + 1):
        for b in range(1, size + 1):
            exact = 0.0
            for both in range(max(0, a + b - size), min(a, b) + 1):
                exact += comb(a, both) * comb(size - a, b - both) / comb(size, b) * both / (a + b - both)
            chance = Overlap(size, a, b, 0, a * b / size).chance
            assert chance is not None
            assert chance <= exact * (1 + 1e-12)
            assert exact <= chance * (1 + 4 / (a + b))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_chosen_has_no_multiple_of_chance(a: int, b: int) -> None:
    found = count(np.arange(a), np.arange(b), 10)
    assert found.times_chance is None
    assert (found.jaccard, found.chance) == ((None, None) if a == b else (0, 0))


def test_over_several_sites_chance_keeps_the_choice_of_each_site() -> None:
    """Both patches crowd into the first site: random choices that do the same overlap there, and that is no merit."""
    rng = np.random.default_rng(0)
    crowded, empty = np.arange(90), np.arange(10)
    one = count(rng.permutation(100)[:90], crowded, 100)
    other = count(rng.permutation(100)[:10], empty, 100)
    both = total([one, other])
    assert (both.size, both.a, both.b, both.both) == (200, 100, 100, one.both + other.both)
    assert both.expected == pytest.approx(90 * 90 / 100 + 10 * 10 / 100)
    assert both.expected > 100 * 100 / 200


# what counts as chosen


@pytest.mark.parametrize("number", [3, 20])
def test_chosen_are_the_weights_whose_bits_changed_sparse_or_dense(number: int) -> None:
    made = patch({"w": range(number)})
    assert (made.changes["w"].index is None) == (number == 20)
    chosen = select(made).chosen["w"]
    assert chosen.tolist() == list(range(number))
    assert chosen.dtype == np.uint32


def test_a_stored_element_that_did_not_change_is_not_chosen() -> None:
    made = patch({"w": [1, 5, 9]})
    change = made.changes["w"]
    after = change.after.copy()
    after[1] = change.before[1]
    kept = Change("w", "F32", change.shape, change.index, change.before, after)
    assert select(Patch({"w": kept}, made.record)).chosen["w"].tolist() == [1, 9]


# where a site lies in its tensor


@pytest.mark.parametrize(("rows", "transposed"), IN_TENSOR)
def test_the_record_places_a_site_on_the_elements_of_its_weight(rows: tuple[int, int] | None, transposed: bool) -> None:
    stored = (8, 3) if rows is None else (3, 3)
    shape = stored[::-1] if transposed else stored
    one = Site("text", 0, "attn.q", "", "w", shape, rows=rows, transposed=transposed)
    tensor = torch.arange(24).view(8, 3)
    weight = weight_of(tensor, one)
    assert tuple(weight.shape) == shape
    described = describe_site(one, torch.ones(shape, dtype=torch.bool), None, weight.float())
    assert described["transposed"] is transposed
    assert described["tensor_rows"] == (None if rows is None else list(rows))
    (part,) = parts_of({"base": {"touched": {"w": {"shape": [8, 3]}}}, "sites": [described]})
    assert sorted(weight.flatten().tolist()) == list(range(part.start, part.stop))
    assert part.name == "text:attn.q[0]"


def parts(sites: Any, **shapes: list[int]) -> list[TensorPart]:
    return parts_of({"base": {"touched": {key: {"shape": shape} for key, shape in shapes.items()}}, "sites": sites})


def spans(found: list[TensorPart]) -> list[tuple[str, int, int]]:
    return [(part.name, part.start, part.stop) for part in found]


def test_an_older_record_names_the_site_if_it_is_the_whole_tensor_and_else_the_tensor() -> None:
    sites = [site("text:mlp.out[0]"), site("text:attn.q[0]", "qkv", (2, 4)), site("text:attn.k[0]", "qkv", (2, 4))]
    assert spans(parts(sites, w=[6, 4], qkv=[6, 4])) == [("text:mlp.out[0]", 0, 24), ("qkv", 0, 24)]


@pytest.mark.parametrize("rows", [[4, 8], [-2, 0], [2, 2], [4, 2], [0, 3], "ab", [1], 3, [None, None]])
def test_a_site_that_cannot_be_where_its_record_says_is_taken_for_the_whole_tensor(rows: Any) -> None:
    assert spans(parts([site("odd", shape=(2, 4), tensor_rows=rows)], w=[6, 4])) == [("w", 0, 24)]


def test_sites_that_lie_on_each_other_are_taken_for_the_whole_tensor() -> None:
    sites = [site("q", shape=(2, 4), tensor_rows=[0, 2]), site("k", shape=(2, 4), tensor_rows=[1, 3])]
    assert spans(parts(sites, w=[6, 4])) == [("w", 0, 24)]


@pytest.mark.parametrize("sites", [None, [], "none", [{"site": "a"}, "b"], [site("a", "elsewhere")], [{"key": []}]])
def test_a_record_without_usable_sites_is_compared_tensor_by_tensor(sites: Any) -> None:
    assert spans(parts(sites, w=[6, 4], scale=[])) == [("w", 0, 24), ("scale", 0, 1)]


# two patches


def fused(name: str, first: int, last: int) -> dict[str, Any]:
    return site(name, "qkv", (last - first, 4), tensor_rows=[first, last])


def test_rows_of_a_fused_tensor_are_sites_of_their_own() -> None:
    """q is chosen alike, k differently, and v by one patch only."""
    both = [fused("text:attn.q[0]", 0, 2), fused("text:attn.k[0]", 2, 4)]
    a = patch({"qkv": [0, 3, 7, 9, 17]}, [*both, fused("text:attn.v[0]", 4, 6)])
    b = patch({"qkv": [0, 3, 7, 10, 11]}, both)
    found = compare(select(a), select(b, "B"))
    assert [one.name for one in found.sites] == ["text:attn.q[0]", "text:attn.k[0]"]
    assert [one.counts.jaccard for one in found.sites] == [1, 0]
    assert (found.everywhere.a, found.everywhere.b, found.everywhere.both) == (4, 5, 3)
    assert found.elsewhere == (1, 0)


def test_a_whole_tensor_is_compared_with_the_rows_that_the_other_patch_edits() -> None:
    a = patch({"qkv": [0, 9, 10, 20]})
    b = patch({"qkv": [9, 11]}, [fused("text:attn.k[0]", 2, 4)])
    for one, other in ((a, b), (b, a)):
        found = compare(select(one), select(other, "B"))
        assert [part.name for part in found.sites] == ["text:attn.k[0]"]
        assert found.everywhere.both == 1
        assert found.everywhere.size == 8
        assert set(found.elsewhere) == {0, 2}


def test_cutting_a_site_into_rows_changes_no_count_over_all_sites() -> None:
    rng = np.random.default_rng(0)
    a, b = ({"w": choice(rng, 24, 0.5)} for _ in range(2))
    halves = [site("top", shape=(3, 4), tensor_rows=[0, 3]), site("rest", shape=(3, 4), tensor_rows=[3, 6])]
    whole = compare(select(patch(a)), select(patch(b))).everywhere
    cut = compare(select(patch(a, halves)), select(patch(b, halves))).everywhere
    assert (whole.size, whole.a, whole.b, whole.both) == (cut.size, cut.a, cut.b, cut.both)


def test_a_changed_bias_is_no_part_of_a_site() -> None:
    sites = [site("text:mlp.out[0]")]
    a, b = (patch({"w": [0, number], "bias": range(24)}, sites) for number in (1, 2))
    found = compare(select(a), select(b))
    assert (found.everywhere.a, found.everywhere.b, found.everywhere.both) == (2, 2, 1)
    assert found.elsewhere == (0, 0)


def test_each_site_keeps_what_both_records_say_of_it() -> None:
    a = patch({"w": [0]}, [site("text:mlp.out[0]", columns=0.25)])
    b = patch({"w": [0]}, [site("text:mlp.out[0]", columns=0.75)])
    (one,) = compare(select(a), select(b)).sites
    assert [described["columns"] for described in one.described] == [0.25, 0.75]


# refusals


def refusal(a: Patch, b: Patch) -> str:
    with pytest.raises(PatchError) as caught:
        compare(select(a, "one"), select(b, "other"))
    assert "one and other" in caught.value.problem
    assert "\n" not in str(caught.value).replace("\n", "", 1)
    return caught.value.problem


def test_patches_of_other_weights_are_refused() -> None:
    assert "the weights of 'w' are not the same" in refusal(patch({"w": [0]}), patch({"w": [0]}, seed=1))


def test_patches_of_a_tensor_of_another_shape_or_dtype_are_refused() -> None:
    assert "F32 [6, 4] in the one and F32 [4, 6]" in refusal(patch({"w": [0]}), patch({"w": [0]}, shape=(4, 6)))


def test_one_common_tensor_that_differs_is_enough_to_refuse() -> None:
    a, b = patch({"v": [0], "w": [0]}), patch({"v": [0], "w": [0]})
    b.record["base"]["touched"]["v"]["before"] = "another"
    assert "'v'" in refusal(a, b)


@pytest.mark.parametrize(("identities", "refused"), [("xy", True), ("xx", False), (("x", None), False)])
def test_models_that_are_known_to_differ_elsewhere_are_refused(identities: Any, refused: bool) -> None:
    a, b = patch({"w": [0]}), patch({"w": [0]})
    for one, identity in zip((a, b), identities, strict=True):
        one.record["model"] = {"identity": identity}
    if refused:
        assert "different models" in refusal(a, b)
    else:
        assert compare(select(a), select(b)).everywhere.jaccard == 1


def test_patches_without_a_common_site_are_refused_by_name() -> None:
    said = refusal(patch({"v": [0], "w": [0]}), patch({"x": [0]}))
    assert "no site in common" in said
    assert "v and 1 more" in said and "the second x" in said
    rows = [[fused("text:attn.q[0]", 0, 2)], [fused("text:attn.k[0]", 2, 4)]]
    q, k = (patch({"qkv": [0, 9]}, sites) for sites in rows)
    assert "text:attn.q[0]" in refusal(q, k)
