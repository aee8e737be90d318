"""Scorers against float64 loops written from Eqs. 8-10, by the laws they obey, and in every degenerate case."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from editkit.errors import PluginError, RecipeError
from editkit.observe import Inputs
from editkit.plugins import default_host
from editkit.scorers.pairs import PairScorer, pair_scorer
from editkit.scoring import score_weights
from editkit.site import Site
from editkit.specs import NoOptions, ScorerSpec
from editkit.testing import score

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("uwm", {"aggregation": "pairs"}),
    ("uwm", {"aggregation": "means"}),
    ("difference", {}),
    ("unsafe", {}),
]
EVERY_METHOD = pytest.mark.parametrize(("name", "options"), METHODS, ids=["pairs", "means", "difference", "unsafe"])
Pairs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def pairs(*, seed: int = 0, b: int = 4, t: int = 5, t_u: int = 7, o: int = 3, i: int = 6) -> Pairs:
    """A weight, and inputs on B pairs: offsets differ by channel, masks end early, padding holds garbage."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(o, i, generator=draw)
    sides: list[Tensor] = []
    for tokens in (t, t_u):
        x = torch.randn(b, tokens, i, generator=draw) + torch.randn(i, generator=draw)
        lengths = torch.randint(2, tokens + 1, (b,), generator=draw)
        mask = torch.arange(tokens) < lengths[:, None]
        sides += [torch.where(mask[:, :, None], x, 1e6), mask]
    return (weight, *sides)  # type: ignore[return-value]


def scorer(name: str, **options: Any) -> Any:
    spec = default_host().resolve(ScorerSpec, name)
    return spec.load()(spec.options(**options))


def site_of(weight: Tensor, tower: Any = "vision", key: str = "layer.weight") -> Site:
    return Site(tower, 0, "mlp.out", "layer", key, (weight.shape[0], weight.shape[1]))


def run(made: Any, weight: Tensor, batches: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Any]:
    """Scores and notes of several batches, as the engine asks for them."""
    state = made.start(weight, site_of(weight))
    for safe, safe_mask, unsafe, unsafe_mask in batches:
        made.update(state, weight, Inputs(safe, safe_mask), Inputs(unsafe, unsafe_mask))
    return made.finish(state, weight, site_of(weight)), made.notes(state, weight)


# the equations


@EVERY_METHOD
@given(
    b=st.integers(1, 5),
    t=st.integers(2, 6),
    t_u=st.integers(2, 6),
    o=st.integers(1, 5),
    i=st.integers(1, 6),
    tower=st.sampled_from(["text", "vision"]),
    seed=st.integers(0, 10_000),
)
def test_scores_equal_loops_over_the_whole_tensor(
    name: str, options: dict[str, Any], b: int, t: int, t_u: int, o: int, i: int, tower: Any, seed: int
) -> None:
    made = pairs(seed=seed, b=b, t=t, t_u=t_u, o=o, i=i)
    found = score(name, *made, tower=tower, **options)
    assert found.dtype == torch.float32
    expected = naive.score(name, *made, tower=tower, **options)
    scale = np.linalg.norm(naive.score("unsafe", *made, tower=tower)) if name == "difference" else 0
    error = np.linalg.norm(naive.float64(found) - expected)
    assert error <= 1e-5 * max(np.linalg.norm(expected), scale)


@EVERY_METHOD
@pytest.mark.parametrize("prior", ["text", "vision", "both", "none"])
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_the_prior_multiplies_by_the_weight_in_the_towers_it_names(
    name: str, options: dict[str, Any], prior: str, tower: Any
) -> None:
    made = pairs(seed=3)
    plain = score(name, *made, tower=tower, prior="none", **options)
    found = score(name, *made, tower=tower, prior=prior, **options)
    torch.testing.assert_close(found, plain * made[0].abs() if prior in (tower, "both") else plain)
    assert naive.relative(found, naive.score(name, *made, tower=tower, prior=prior, **options)) <= 1e-5


def test_the_default_prior_is_texts() -> None:
    made = pairs()
    assert torch.equal(score("uwm", *made, tower="text"), score("uwm", *made, tower="text", prior="text"))
    assert torch.equal(score("uwm", *made, tower="vision"), score("uwm", *made, tower="vision", prior="none"))


def test_the_two_aggregations_differ_and_agree_on_one_pair() -> None:
    many, one = pairs(b=6), pairs(b=1)
    assert naive.relative(score("uwm", *many, aggregation="means"), score("uwm", *many)) > 1e-2
    torch.testing.assert_close(score("uwm", *one, aggregation="means"), score("uwm", *one))


def test_no_mask_means_every_token() -> None:
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs()
    every = torch.ones_like(safe_mask), torch.ones_like(unsafe_mask)
    found = score("uwm", weight, safe, None, unsafe, None)
    assert torch.equal(found, score("uwm", weight, safe, every[0], unsafe, every[1]))


# laws


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


# degenerate cases: one answer each, and a count


def clean(**kwargs: int) -> tuple[Tensor, list[Tensor]]:
    """A weight and pairs with every token real."""
    weight, safe, safe_mask, unsafe, unsafe_mask = pairs(**kwargs)
    draw = torch.Generator().manual_seed(99)
    safe, unsafe = torch.randn(safe.shape, generator=draw), torch.randn(unsafe.shape, generator=draw)
    return weight, [safe, torch.ones_like(safe_mask), unsafe, torch.ones_like(unsafe_mask)]


def check_left_out(name: str, options: dict[str, Any], weight: Tensor, sides: list[Tensor]) -> dict[str, int]:
    """Compare with the loops and return the notes."""
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert bool(torch.isfinite(found).all())
    assert naive.relative(found, naive.score(name, weight, *sides, tower="vision", **options)) <= 1e-5
    return dict(notes)


@EVERY_METHOD
def test_nothing_degenerate_is_counted_where_nothing_is(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    assert check_left_out(name, options, weight, sides) == {"cells_left_out": 0, "empty_columns": 0, "zero_rows": 0}


@EVERY_METHOD
def test_a_channel_silent_on_the_safe_side_leaves_its_pair_out_of_that_column(
    name: str, options: dict[str, Any]
) -> None:
    weight, sides = clean()
    sides[0][1, :, 2] = 0
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 1, "empty_columns": 0, "zero_rows": 0}
    kept = [0, 2, 3]
    without = score(name, weight, *(x[kept] for x in sides), tower="vision", **options)
    torch.testing.assert_close(score(name, weight, *sides, tower="vision", **options)[:, 2], without[:, 2])


@EVERY_METHOD
@pytest.mark.parametrize("side", [0, 2], ids=["safe", "unsafe"])
@pytest.mark.parametrize("value", [1.0, 0.1, -0.3, 1e-4, 12345.678])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_constant_channel_leaves_its_pair_out_of_that_column(
    name: str, options: dict[str, Any], side: int, value: float, dtype: torch.dtype
) -> None:
    weight, sides = clean(t=9, t_u=11)  # 0.1 added 9 times is not 0.9 in any binary format
    sides[side][1, :, 2] = value
    sides[side][3, :, 2] = value
    sides[0], sides[2] = sides[0].to(dtype), sides[2].to(dtype)
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 2


@EVERY_METHOD
def test_a_channel_constant_over_real_tokens_counts_as_constant_wherever_padding_stands(
    name: str, options: dict[str, Any]
) -> None:
    weight, sides = clean(t=7)
    sides[1][:, [0, 6]] = False
    sides[0][:, [0, 6]] = 0.7
    sides[0][2, 1:6, 4] = 0.1
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 1


@EVERY_METHOD
def test_a_channel_silent_on_the_unsafe_side_counts_with_no_saliency(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[2][:, :, 5] = 0
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == 0
    found = score(name, weight, *sides, tower="vision", **options)[:, 5]
    assert bool((found < 0).all()) if name == "difference" else not found.any()


@EVERY_METHOD
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_column_without_a_valid_pair_scores_zero(name: str, options: dict[str, Any], value: float) -> None:
    weight, sides = clean()
    sides[0][:, :, 2] = value
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 4, "empty_columns": 1, "zero_rows": 0}
    found = score(name, weight, *sides, tower="vision", **options)
    assert not found[:, 2].any()
    assert bool(found[:, [0, 1, 3, 4, 5]].all())


@EVERY_METHOD
def test_a_row_of_zero_weights_scores_zero(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    weight[1] = 0
    notes = check_left_out(name, options, weight, sides)
    assert notes == {"cells_left_out": 0, "empty_columns": 0, "zero_rows": 1}
    assert not score(name, weight, *sides, tower="vision", **options)[1].any()


@EVERY_METHOD
@pytest.mark.parametrize("tokens", [0, 1])
@pytest.mark.parametrize("side", [1, 3], ids=["safe", "unsafe"])
def test_a_pair_with_fewer_than_two_real_tokens_is_left_out(
    name: str, options: dict[str, Any], side: int, tokens: int
) -> None:
    weight, sides = clean()
    sides[side][1, tokens:] = False
    assert check_left_out(name, options, weight, sides)["cells_left_out"] == weight.shape[1]
    without = score(name, weight, *(x[[0, 2, 3]] for x in sides), tower="vision", **options)
    torch.testing.assert_close(score(name, weight, *sides, tower="vision", **options), without)


@EVERY_METHOD
def test_no_valid_pair_at_all_scores_zero_everywhere(name: str, options: dict[str, Any]) -> None:
    weight, sides = clean()
    sides[0][:] = 0
    found, notes = run(scorer(name, **options), weight, [tuple(sides)])  # type: ignore[list-item]
    assert not found.any()
    assert notes == {"cells_left_out": 24, "empty_columns": 6, "zero_rows": 0}


@EVERY_METHOD
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_accumulate_in_float32(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    weight, sides = clean(b=8, t=40, t_u=50)
    sides[0], sides[2] = (sides[0] * 100 + 300).to(dtype), (sides[2] * 100 - 200).to(dtype)  # squares exceed fp16
    found = score(name, weight, *sides, tower="vision", **options)
    assert found.dtype == torch.float32
    expected = naive.score(name, weight, *sides, tower="vision", **options)
    scale = np.linalg.norm(naive.score("unsafe", weight, *sides, tower="vision"))
    assert np.linalg.norm(naive.float64(found) - expected) <= 1e-5 * max(np.linalg.norm(expected), scale)


def test_many_pairs_in_many_batches_lose_no_precision() -> None:
    weight, sides = clean(b=1000, t=3, t_u=4, o=2, i=3)
    batches = [tuple(x[start : start + 40] for x in sides) for start in range(0, 1000, 40)]
    found, _ = run(scorer("uwm"), weight, batches)  # type: ignore[arg-type]
    assert naive.relative(found, naive.score("uwm", weight, *sides, tower="vision")) <= 5e-6


# memory


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns, in elements."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // 4)
        return out


@EVERY_METHOD
def test_the_whole_tensor_is_never_built(name: str, options: dict[str, Any]) -> None:
    weight, *sides = pairs(b=32, t=3, t_u=3, o=40, i=48)
    with Largest() as largest:
        score(name, weight, *sides, **options)
    assert largest.elements <= max(40 * 48, 32 * 3 * 48)
    assert largest.elements < 32 * 40 * 48 / 10


def test_a_whole_tensor_of_four_gigabytes_is_scored_without_it() -> None:
    weight, *sides = pairs(b=256, t=2, t_u=2, o=2048, i=2048)  # [B, O, I] would be 4.3 GB
    with Largest() as largest:
        found = score("uwm", weight, *sides)
    assert bool(torch.isfinite(found).all())
    assert largest.elements * 4 <= 17e6


@EVERY_METHOD
def test_a_state_does_not_grow_with_the_number_of_pairs(name: str, options: dict[str, Any]) -> None:
    weight, *sides = pairs()
    made = scorer(name, **options)
    state = made.start(weight, site_of(weight))
    sizes = []
    for _ in range(3):
        made.update(state, weight, Inputs(sides[0], sides[1]), Inputs(sides[2], sides[3]))
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in state.values()))
    assert len(set(sizes)) == 1


def test_scoring_changes_neither_weight_nor_inputs() -> None:
    made = pairs()
    before = [tensor.clone() for tensor in made]
    for name, options in METHODS:
        score(name, *made, **options)
    assert all(torch.equal(old, new) for old, new in zip(before, made, strict=True))


# the controls


def test_magnitude_is_the_absolute_weight() -> None:
    weight, *sides = pairs()
    assert torch.equal(score("magnitude", weight, *sides), weight.abs())


def draws(seed: int, *keys: str, shape: tuple[int, int] = (8, 9)) -> dict[str, Tensor]:
    weights = {site_of(torch.empty(shape), key=key): torch.ones(shape) for key in keys}
    found = score_weights({"random": scorer("random", seed=seed)}, weights)["random"].scores
    return {site.key: scores for site, scores in found.items()}


def test_random_is_the_same_for_a_site_whatever_else_is_scored() -> None:
    torch.manual_seed(1)
    alone = draws(0, "a")["a"]
    torch.manual_seed(2)
    beside = draws(0, "c", "b", "a")
    assert torch.equal(beside["a"], alone)
    assert not torch.equal(beside["a"], beside["b"])


def test_random_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draws(0, "a")
    assert torch.equal(torch.rand(3), expected)


def test_random_differs_by_seed_and_by_rows_of_a_fused_tensor() -> None:
    assert not torch.equal(draws(0, "a")["a"], draws(1, "a")["a"])
    weight = torch.zeros(4, 5)
    q = Site("text", 0, "attn.q", "attn", "in_proj", (4, 5), rows=(0, 4))
    k = Site("text", 0, "attn.k", "attn", "in_proj", (4, 5), rows=(4, 8))
    found = score_weights({"random": scorer("random")}, {q: weight, k: weight})["random"].scores
    assert not torch.equal(found[q], found[k])


def test_random_is_uniform() -> None:
    draw = draws(0, "a", shape=(200, 200))["a"]
    assert 0 <= draw.min() < draw.max() < 1
    assert abs(float(draw.mean()) - 0.5) < 0.01
    assert abs(float(draw.var()) - 1 / 12) < 0.005


# writing one's own


def unsafe_norm(weight: Tensor, safe: Inputs, unsafe: Inputs) -> tuple[Tensor, Tensor]:
    """The token norm of unsafe inputs, for every output alike."""
    return torch.ones(len(unsafe.norm), len(weight)), unsafe.norm


def test_a_pair_scorer_is_a_formula_and_a_mean_over_pairs() -> None:
    weight, sides = clean()
    made: Callable[..., PairScorer[Any]] = pair_scorer(unsafe_norm)
    found, notes = run(made(NoOptions()), weight, [tuple(sides)])  # type: ignore[list-item]
    norms = naive.float64(sides[2])
    expected = np.sqrt((norms**2).sum(axis=1)).mean(axis=0)
    assert np.allclose(naive.float64(found), np.broadcast_to(expected, weight.shape), rtol=1e-6)
    assert notes["cells_left_out"] == 0
    assert (made.__name__, made.__doc__) == (unsafe_norm.__name__, unsafe_norm.__doc__)


# errors


def test_an_unknown_scorer_is_named_with_the_closest() -> None:
    with pytest.raises(PluginError, match="Unknown scorer 'umw'. Did you mean 'uwm'"):
        score("umw", *pairs())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation": "median"}, r"scorer\.aggregation = 'median'"),
        ({"agregation": "means"}, r"scorer\.agregation is not an option here\. Did you mean 'aggregation'\?"),
        ({"prior": "image"}, r"scorer\.prior = 'image'"),
    ],
)
def test_a_wrong_option_names_its_path_and_the_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        score("uwm", *pairs(), **options)  # type: ignore[arg-type]
    assert caught.value.remedy == "Options: prior (text), aggregation (pairs)."
