"""Seeing the inputs of sites: exact statistics, attention's hidden projection, and no trace afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from editkit.components.inputs import Inputs
from editkit.components.load import default_host
from editkit.components.site import Role, Site, match_targets
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs, score_weights
from editkit.errors import ModelError, SiteError
from editkit.models.attention import VisibleAttention
from editkit.models.batches import Batch
from editkit.models.observe import observe
from editkit.models.site_tensors import outputs_of, weight_of

QKV: tuple[Role, ...] = ("attn.q", "attn.k", "attn.v")
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])


def linear_site(module: str, shape: tuple[int, int] = (4, 4), role: Role = "mlp.out") -> Site:
    return Site("text", 0, role, module, f"{module}.weight", shape)


class Live:
    """A module as an observer sees a model: its tensors by their keys."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module

    def parameter(self, key: str) -> Tensor:
        held: Tensor = self.module.state_dict(keep_vars=True)[key]
        return held


def watch(module: nn.Module, sites: list[Site], receive: Callable[[Site, Tensor], object]) -> Any:
    """`observe` with a receiver of inputs alone."""
    live: Any = Live(module)
    return observe(live, sites, lambda site, x, y: receive(site, x) and None)


# statistics


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(1, 5)),
    dtype=DTYPES,
    offset=st.sampled_from([0.0, 1.0, -50.0]),
    seed=st.integers(0, 1000),
)
def test_statistics_equal_loops_over_real_tokens(
    shape: tuple[int, int, int], dtype: torch.dtype, offset: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=draw) + offset).to(dtype)
    mask = torch.rand(shape[:2], generator=draw) < 0.7
    mask[:, :2] = True
    inputs = Inputs(torch.where(mask[:, :, None], x, 777), mask)
    for name, values in zip(("norm", "std", "mean"), (inputs.norm, inputs.std, inputs.mean), strict=True):
        assert (values.dtype, tuple(values.shape)) == (torch.float32, (shape[0], shape[2]))
        for b in range(shape[0]):
            expected = dict(
                zip(("norm", "std", "mean"), naive.statistics(naive.float64(x[b]), mask[b].tolist()), strict=True)
            )
            scale = 1e-6 * (1 + abs(offset))
            assert np.allclose(naive.float64(values[b]), expected[name], rtol=1e-5, atol=scale)


def test_an_outlying_token_costs_the_spread_of_the_others_no_precision() -> None:
    x = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-3 + 1000
    x = x.float()
    _, std, _ = naive.statistics(naive.float64(x[0]), [True] * 50)
    assert np.allclose(naive.float64(Inputs(x, torch.ones(1, 50, dtype=torch.bool)).std[0]), std, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e6, 1e-6])
@pytest.mark.parametrize("tokens", [2, 7, 257])
def test_a_constant_channel_has_a_spread_of_exactly_zero(value: float, tokens: int) -> None:
    x = torch.full((2, tokens, 3), value)
    inputs = Inputs(x, torch.ones(2, tokens, dtype=torch.bool))
    assert not inputs.std.any()
    torch.testing.assert_close(inputs.norm, torch.full((2, 3), abs(value) * tokens**0.5))


def test_a_statistic_is_computed_once() -> None:
    inputs = Inputs(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    assert inputs.norm is inputs.norm
    assert inputs.std is inputs.std


def test_statistics_leave_the_inputs_alone() -> None:
    x = torch.randn(2, 3, 4)
    before = x.clone()
    inputs = Inputs(x, torch.tensor([[True, True, False]] * 2))
    inputs.norm, inputs.std, inputs.mean  # noqa: B018
    assert torch.equal(x, before)


# hooks


class Chain(nn.Module):
    """Two linear maps, a third that never runs, and a fourth that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle, self.twice = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.twice(self.twice(self.second(input=self.first(x))))
        return seen


def test_each_site_hands_on_its_own_input_batch_first() -> None:
    chain, x = Chain(), torch.randn(2, 3, 4)
    seen: dict[str, Tensor] = {}
    sites = [linear_site("first"), linear_site("second")]
    with watch(chain, sites, lambda site, x: seen.update({site.module: x})) as observer:
        chain(x)
        observer.expect_one_run()
        chain(x)
        observer.expect_one_run()
    assert torch.equal(seen["first"], x)
    assert torch.equal(seen["second"], chain.first(x))  # given by keyword


def test_pooled_inputs_count_as_one_token() -> None:
    seen = []
    layer = nn.Sequential(nn.Linear(4, 4))
    with watch(layer, [linear_site("0")], lambda site, x: seen.append(tuple(x.shape))):
        layer(torch.randn(5, 4))
    assert seen == [(5, 1, 4)]


@pytest.mark.parametrize("stops", [False, True])
def test_nothing_is_observed_once_the_context_is_left(stops: bool) -> None:
    chain = Chain()
    seen: list[Site] = []
    try:
        with watch(chain, [linear_site("first"), linear_site("second")], lambda site, x: seen.append(site)):
            chain(torch.randn(1, 2, 4))
            if stops:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert len(seen) == 2
    chain(torch.randn(1, 2, 4))
    assert len(seen) == 2


@pytest.mark.parametrize(("module", "runs"), [("idle", 0), ("twice", 2)])
def test_a_site_that_does_not_run_once_is_an_error(module: str, runs: int) -> None:
    chain = Chain()
    with watch(chain, [linear_site("first"), linear_site(module)], lambda site, x: None) as observer:
        chain(torch.randn(1, 2, 4))
        with pytest.raises(SiteError, match=rf"\(module {module}\) ran {runs} times in one forward pass") as caught:
            observer.expect_one_run()
    assert str(caught.value).count("\n") == 1


class Pooled(nn.Module):
    """A projection as a raw parameter, stored [I, O], as open_clip has it."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1) @ self.proj


def test_a_bare_parameter_is_observed_by_the_product_it_takes_part_in() -> None:
    module, x = Pooled(), torch.randn(2, 5, 4)
    bare = Site("text", 0, "proj", "", "proj", (3, 4), transposed=True)
    seen: list[tuple[Tensor, Tensor]] = []
    live: Any = Live(module)
    with observe(live, [bare], lambda site, x, y: seen.append((x, y))) as observer:
        expected = module(x)
        observer.expect_one_run()
    ((inputs, outputs),) = seen
    assert torch.equal(inputs, x.mean(dim=1)[:, None])
    assert torch.equal(outputs, expected)


def test_the_sites_of_a_fused_map_get_their_parts_of_its_output() -> None:
    fused = nn.Sequential(nn.Linear(4, 9))
    sites = [Site("vision", 0, role, "0", "0.weight", (3, 4), rows=(3 * k, 3 * k + 3)) for k, role in enumerate(QKV)]
    seen: dict[str, Tensor] = {}
    live: Any = Live(fused)
    with observe(live, sites, lambda site, x, y: seen.update({site.role: outputs_of(y, site)})) as observer:
        whole = fused(torch.randn(2, 5, 4))
        observer.expect_one_run()
    assert torch.equal(torch.cat([seen[role] for role in QKV], dim=-1), whole)


# attention


def attention(*, batch_first: bool, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(32, 4, bias=bias, batch_first=batch_first, dtype=dtype)
    if bias:
        nn.init.normal_(made.in_proj_bias)
        nn.init.normal_(made.out_proj.bias)
    return made.eval()


CAUSAL = torch.triu(torch.ones(6, 6, dtype=torch.bool), diagonal=1)
MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "additive": lambda: torch.zeros(6, 6).masked_fill(CAUSAL, float("-inf")),
    "bias": lambda: torch.randn(6, 6, generator=torch.Generator().manual_seed(1)),
    "boolean": lambda: CAUSAL,
    "by head": lambda: torch.randn(3 * 4, 6, 6, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attentions_output_projection_is_observed(batch_first: bool, bias: bool, mask: str) -> None:
    wrapped = nn.ModuleDict({"attn": attention(batch_first=batch_first, bias=bias)})
    attn = wrapped["attn"]
    before = {name: tensor.clone() for name, tensor in attn.state_dict().items()}
    x = torch.randn((3, 6, 32) if batch_first else (6, 3, 32), generator=torch.Generator().manual_seed(2))
    seen: list[Tensor] = []

    def run() -> Tensor:
        with torch.no_grad():
            out: Tensor = attn(x, x, x, need_weights=False, attn_mask=MASKS[mask]())[0]
        return out

    expected = run()
    with watch(wrapped, [linear_site("attn.out_proj", (32, 32), "attn.out")], lambda site, x: seen.append(x)) as o:
        assert naive.relative(run(), expected) <= 1e-6
        o.expect_one_run()
        assert type(attn) is VisibleAttention
    assert type(attn) is nn.MultiheadAttention
    assert torch.equal(run(), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in attn.state_dict().items())
    assert tuple(seen[0].shape) == (3, 6, 32)
    output = expected if batch_first else expected.transpose(0, 1)
    assert naive.relative(attn.out_proj(seen[0]).detach(), output) <= 1e-6


def test_attention_with_its_own_key_and_value_widths_is_observed() -> None:
    torch.manual_seed(0)
    attn = nn.MultiheadAttention(32, 4, kdim=20, vdim=24, batch_first=True).eval()
    wrapped = nn.ModuleDict({"attn": attn})
    q, k, v = torch.randn(2, 5, 32), torch.randn(2, 7, 20), torch.randn(2, 7, 24)
    expected = attn(q, k, v, need_weights=False)[0].detach()
    with watch(wrapped, [linear_site("attn.out_proj", (32, 32))], lambda site, x: None) as observer:
        assert naive.relative(attn(q, k, v, need_weights=False)[0].detach(), expected) <= 1e-6
        observer.expect_one_run()


def test_the_class_is_restored_after_an_error() -> None:
    wrapped = nn.ModuleDict({"attn": attention(batch_first=True)})
    with (
        pytest.raises(ZeroDivisionError),
        watch(wrapped, [linear_site("attn.out_proj", (32, 32))], lambda site, x: None),
    ):
        raise ZeroDivisionError
    assert type(wrapped["attn"]) is nn.MultiheadAttention


def test_only_the_attention_that_holds_a_site_is_exchanged() -> None:
    pair = nn.ModuleDict({"a": attention(batch_first=True), "b": attention(batch_first=True)})
    with watch(pair, [linear_site("a.out_proj", (32, 32))], lambda site, x: None):
        assert type(pair["a"]) is VisibleAttention
        assert type(pair["b"]) is nn.MultiheadAttention


@pytest.mark.parametrize("kwargs", [{"key_padding_mask": torch.zeros(3, 6, dtype=torch.bool)}])
def test_attention_that_cannot_be_reproduced_is_an_error_and_not_another_result(kwargs: dict[str, Any]) -> None:
    wrapped = nn.ModuleDict({"attn": attention(batch_first=True)})
    x = torch.randn(3, 6, 32)
    with (
        watch(wrapped, [linear_site("attn.out_proj", (32, 32))], lambda site, x: None),
        pytest.raises(SiteError, match="cannot be observed"),
    ):
        wrapped["attn"](x, x, x, **{"need_weights": False, **kwargs})


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_input_of_q_k_and_v_is_the_attentions_own(batch_first: bool) -> None:
    wrapped = nn.ModuleDict({"attn": attention(batch_first=batch_first)})
    x = torch.randn(3, 6, 32)
    held = x if batch_first else x.transpose(0, 1)
    seen: list[Tensor] = []
    with watch(
        wrapped,
        [Site("text", 0, "attn.q", "attn", "attn.in_proj_weight", (32, 32), rows=(0, 32))],
        lambda site, x: seen.append(x),
    ):
        wrapped["attn"](held, held, held, need_weights=False)
    assert torch.equal(seen[0], x)


# weights


def test_a_sites_weight_is_a_view_of_the_tensor_that_holds_it() -> None:
    fused = torch.randn(12, 4)
    k = Site("text", 0, "attn.k", "attn", "in_proj", (4, 4), rows=(4, 8))
    turned = Site("text", 0, "proj", "", "proj", (4, 12), transposed=True)
    assert torch.equal(weight_of(fused, k), fused[4:8])
    assert torch.equal(weight_of(fused, turned), fused.T)
    weight_of(fused, k)[0, 0] = 5
    assert fused[4, 0] == 5


# the pass over data


def uwm() -> Any:
    spec = default_host().resolve(ScorerSpec, "uwm")
    return spec.load()(spec.options())


@pytest.mark.parametrize(("row", "side"), [(1, "safe"), (4, "unsafe")])
def test_an_activation_that_is_not_finite_names_sample_and_site(
    clip: Any, clip_sites: list[Site], reference: dict[str, Tensor], row: int, side: str
) -> None:
    pixels = reference["pixel_values"][[0, 1, 2, 12, 13, 14]].clone()
    pixels[row, 0, 0, 0] = float("nan")
    batch = Batch((7, 8, 9), {"pixel_values": pixels}, None)
    sites = match_targets(["vision:mlp.out"], clip_sites)
    with pytest.raises(ModelError) as caught:
        score_pairs(clip, "vision", sites, {"uwm": uwm()}, [batch], name_of=lambda group: f"'item-{group}'")
    assert f"the {side} sample of tuple 'item-8' at vision:mlp.out[0]" in caught.value.problem


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_names_its_tensor_before_anything_runs(
    clip: Any, clip_sites: list[Site], value: float
) -> None:
    (site,) = match_targets(["text:attn.out[1]"], clip_sites)
    clip.parameter(site.key)[3, 5] = value
    with pytest.raises(ModelError, match=f"Tensor {site.key} holds values that are not finite"):
        score_pairs(clip, "text", [site], {"uwm": uwm()}, iter(()))
    with pytest.raises(ModelError, match=site.key):
        score_weights({"uwm": uwm()}, {site: clip.parameter(site.key)})


def test_a_site_of_the_other_tower_never_runs_and_is_an_error(
    clip: Any, clip_sites: list[Site], pair_batches: Callable[..., Any]
) -> None:
    sites = match_targets(["vision:mlp.out[0]"], clip_sites)
    with pytest.raises(SiteError, match=r"vision:mlp.out\[0\] .* ran 0 times"):
        score_pairs(clip, "text", sites, {"uwm": uwm()}, pair_batches(clip, "text", 4))


def test_progress_is_told_every_pair_once(clip: Any, clip_sites: list[Site], pair_batches: Callable[..., Any]) -> None:
    told: list[int] = []
    sites = match_targets(["text:attn.out[0]"], clip_sites)
    score_pairs(clip, "text", sites, {"uwm": uwm()}, pair_batches(clip, "text", 5), on_batch=told.append)
    assert told == [5, 5, 2]


def test_several_scorers_share_one_pass_and_score_as_they_do_alone(
    clip: Any, clip_sites: list[Site], pair_batches: Callable[..., Any]
) -> None:
    sites = match_targets(["text:attn.out"], clip_sites)
    spec = default_host().resolve(ScorerSpec, "difference")
    together = {"uwm": uwm(), "difference": spec.load()(spec.options())}
    both = score_pairs(clip, "text", sites, together, pair_batches(clip, "text", 5), noting=together)
    for name, made in together.items():
        alone = score_pairs(clip, "text", sites, {name: made}, pair_batches(clip, "text", 5), noting=[name])
        assert all(torch.equal(both[name].scores[site], alone[name].scores[site]) for site in sites)
        assert both[name].notes == alone[name].notes != {}
