"""Scorers against float64 loops written from Eqs. 8-10, in precision and memory; the controls, and one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_samples import EVERY_METHOD, METHODS, clean, pairs, run, scorer, site_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from editkit.components.inputs import Inputs
from editkit.components.site import Site
from editkit.components.spec import NoOptions
from editkit.editing.input_scores import score_weights
from editkit.errors import PluginError, RecipeError
from editkit.methods.scorers.pairs import PairScorer, pair_scorer
from editkit.testing import score

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


# precision


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
