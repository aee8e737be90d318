"""The gradients of a loss over whole batches, however small the micro-batches: the engine against plain autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN, PAIRS
from models import tiny_open_clip
from naive import relative
from pair_samples import scorer
from plain_gradients import OpenPairs, batch_loss, of_site, other_than
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.protocols import LossEmbeddings
from editkit.components.site import Site, match_targets
from editkit.editing.gradient_scores import embed_pairs, score_batch_gradients
from editkit.errors import EditkitError, ModelError, ScoreError, SiteError
from editkit.models.batches import Batch
from editkit.testing import select

BOTH_TOWERS = pytest.mark.parametrize("tower", ["text", "vision"])
BOTH_LOSSES = pytest.mark.parametrize("loss", ["g-unsafe", "g-safe-clip"])
TUPLES = 64
END = 98


@cache
def inputs_of(tower: str) -> dict[str, Tensor]:
    """Random inputs of 64 tuples for the reference model, safe then unsafe; captions differ in length."""
    drawn = torch.Generator().manual_seed(7)
    if tower == "vision":
        return {"pixel_values": torch.randn(2 * TUPLES, 3, 32, 32, generator=drawn)}
    ids = torch.randint(1, END - 1, (2 * TUPLES, 16), generator=drawn)
    lengths = torch.randint(3, 16, (2 * TUPLES,), generator=drawn)
    ids[torch.arange(16) >= lengths[:, None] - 1] = END
    return {"input_ids": ids}


def batch_of(tower: str, groups: Sequence[int]) -> Batch:
    rows = [*groups, *(TUPLES + group for group in groups)]
    return Batch(tuple(groups), {name: x[rows] for name, x in inputs_of(tower).items()}, None)


def losses_of(tower: str, size: int, micro: int) -> list[list[Batch]]:
    """Losses over `size` consecutive tuples, each in micro-batches."""
    return [
        [batch_of(tower, range(at, min(at + micro, first + size))) for at in range(first, first + size, micro)]
        for first in range(0, TUPLES, size)
    ]


def frozen_of(model: Any, tower: str) -> Tensor:
    other = other_than(tower)
    return embed_pairs(model, other, [batch_of(other, range(TUPLES))], TUPLES, lambda pairs: None)


def scores_of(model: Any, tower: Any, sites: Sequence[Site], losses: Any, **options: Any) -> dict[Site, Tensor]:
    made = scorer("gradient", **options)
    return score_batch_gradients(model, tower, sites, "gradient", made, losses, frozen_of(model, tower)).scores


def largest(found: dict[Site, Tensor], expected: dict[Site, Tensor]) -> float:
    assert found.keys() == expected.keys() and found
    return max(relative(found[site], expected[site]) for site in expected)


# the released code


@BOTH_TOWERS
@BOTH_LOSSES
@pytest.mark.parametrize("micro", [5, PAIRS])
def test_one_loss_over_all_pairs_gives_the_released_codes_scores_and_selections(
    clip: Any,
    clip_sites: list[Site],
    reference: dict[str, Tensor],
    pair_batches: Callable[..., Any],
    tower: Any,
    loss: str,
    micro: int,
) -> None:
    other = other_than(tower)
    sites = match_targets([{"text": "text:attn.out", "vision": "vision:mlp.out"}[tower]], clip_sites)
    frozen = embed_pairs(clip, other, pair_batches(clip, other, 5), PAIRS, lambda pairs: None)
    losses = [list(pair_batches(clip, tower, micro))]
    scored = score_batch_gradients(clip, tower, sites, "gradient", scorer("gradient", loss=loss), losses, frozen)
    assert len(sites) == 2 and scored.scores.keys() == set(sites)
    adaptive = (loss, tower) == ("g-unsafe", "vision")
    sparsity = {"g-unsafe": 0.965, "g-safe-clip": 0.995}[loss]
    for site, scores in scored.scores.items():
        assert relative(scores, reference[f"{loss}.{tower}.{site.layer}.score"]) <= 1e-4
        mask = select("adaptive", scores, tau=1 - sparsity) if adaptive else select("topk", scores, sparsity=sparsity)
        assert torch.equal(mask, reference[f"{loss}.{tower}.{site.layer}.selected"])


# plain autograd


@cache
def plain_embeddings() -> tuple[Any, dict[str, Tensor]]:
    """The reference model in float64, by transformers alone, with embeddings of all tuples that gradients reach."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(GOLDEN / "model", dtype=torch.float64).eval()
    text = model.get_text_features(**inputs_of("text")).pooler_output
    vision = model.get_image_features(pixel_values=inputs_of("vision")["pixel_values"].double()).pooler_output
    return model, {"text": normalize(text, dim=-1), "vision": normalize(vision, dim=-1)}


def plain_gradients(tower: str, sites: Sequence[Site], loss: str, first: int, size: int) -> list[Tensor]:
    model, embedded = plain_embeddings()
    own, other = embedded[tower], embedded[other_than(tower)].detach()
    rows = [slice(at + first, at + first + size) for at in (0, TUPLES)]
    total = batch_loss(loss, own[rows[0]], own[rows[1]], other[rows[0]], other[rows[1]])
    return list(torch.autograd.grad(total, [model.get_parameter(site.key) for site in sites], retain_graph=True))


@BOTH_TOWERS
@BOTH_LOSSES
@pytest.mark.parametrize("size", [TUPLES, 24])
def test_scores_are_those_of_plain_autograd_of_each_loss_in_float64(
    clip: Any, clip_sites: list[Site], tower: str, loss: str, size: int
) -> None:
    sites = match_targets([f"{tower}:*"], clip_sites)
    expected = {site: torch.zeros(site.shape, dtype=torch.float64) for site in sites}
    for first in range(0, TUPLES, size):
        count = min(size, TUPLES - first)
        for site, gradient in zip(sites, plain_gradients(tower, sites, loss, first, count), strict=True):
            expected[site] += gradient.abs() * count / TUPLES
    losses = [[batch_of(tower, range(first, min(TUPLES, first + size)))] for first in range(0, TUPLES, size)]
    assert len(sites) == 13  # every role of both layers, and the projection
    assert largest(scores_of(clip, tower, sites, losses, loss=loss), expected) <= 1e-5


@BOTH_TOWERS
def test_fused_rows_and_raw_projections_of_open_clip_have_plain_autograds_scores(tmp_path: Path, tower: Any) -> None:
    pairs, other = OpenPairs(tiny_open_clip(tmp_path / "config")), other_than(tower)
    sites = match_targets([f"{tower}:*"], pairs.sites)
    assert sum(site.rows is not None for site in sites) == 6 and sum(site.transposed for site in sites) == 1
    encoders: dict[str, Any] = {"text": pairs.text, "vision": pairs.image}
    own, known = (torch.stack([encoders[name](row) for row in range(2 * PAIRS)]) for name in (tower, other))
    total = batch_loss("g-safe-clip", own[:PAIRS], own[PAIRS:], known[:PAIRS].detach(), known[PAIRS:].detach())
    gradients = torch.autograd.grad(total, [pairs.plain.get_parameter(site.key) for site in sites])
    frozen = embed_pairs(pairs.loaded, other, pairs.batches(pairs.loaded, other, 5), PAIRS, lambda pairs: None)
    losses = [list(pairs.batches(pairs.loaded, tower, 5))]
    made = scorer("gradient", loss="g-safe-clip")
    found = score_batch_gradients(pairs.loaded, tower, sites, "gradient", made, losses, frozen).scores
    expected = {site: of_site(one.abs(), site) for site, one in zip(sites, gradients, strict=True)}
    assert largest(found, expected) <= 2e-5


# micro-batches


@BOTH_TOWERS
@BOTH_LOSSES
@pytest.mark.parametrize("micro", [1, 5, 8])
def test_micro_batches_give_the_gradients_of_the_whole_batch(
    clip: Any, clip_sites: list[Site], tower: str, loss: str, micro: int
) -> None:
    sites = match_targets([f"{tower}:*"], clip_sites)
    whole = scores_of(clip, tower, sites, losses_of(tower, TUPLES, TUPLES), loss=loss)
    assert largest(scores_of(clip, tower, sites, losses_of(tower, TUPLES, micro), loss=loss), whole) <= 1e-5


@BOTH_LOSSES
def test_which_tuples_share_a_loss_matters(clip: Any, clip_sites: list[Site], loss: str) -> None:
    sites = match_targets(["vision:mlp.out"], clip_sites)
    whole = scores_of(clip, "vision", sites, losses_of("vision", TUPLES, 8), loss=loss)
    assert largest(scores_of(clip, "vision", sites, losses_of("vision", 8, 8), loss=loss), whole) > 0.05


def test_micro_batches_may_hold_a_loss_in_any_order(clip: Any, clip_sites: list[Site]) -> None:
    sites = match_targets(["text:*"], clip_sites)
    parts = [batch_of("text", groups) for groups in (range(33, 64), [32], range(31, 0, -2), range(0, 32, 2))]
    whole = scores_of(clip, "text", sites, losses_of("text", TUPLES, TUPLES), loss="g-safe-clip")
    assert largest(scores_of(clip, "text", sites, [parts], loss="g-safe-clip"), whole) <= 1e-5


def test_the_gradient_of_a_mean_does_not_underflow_in_float16(clip: Any, clip_sites: list[Site]) -> None:
    sites = match_targets(["text:*"], clip_sites)
    for projection in (clip.module.text_projection, clip.module.visual_projection):
        projection.weight.data *= 500  # the longer the embeddings, the smaller the gradient
    whole = scores_of(clip, "text", sites, losses_of("text", TUPLES, TUPLES))
    clip.module.half()
    assert largest(scores_of(clip, "text", sites, losses_of("text", TUPLES, TUPLES)), whole) <= 0.01


# what is left behind


def flags(model: Any) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.module.named_parameters()}


@pytest.mark.parametrize("stops", [False, True])
def test_a_scored_model_is_as_it_was_bit_for_bit(clip: Any, clip_sites: list[Site], stops: bool) -> None:
    clip.parameter("logit_scale").requires_grad_()
    bits = {name: tensor.clone() for name, tensor in clip.module.state_dict().items()}
    before = flags(clip)

    def losses() -> Any:
        yield from losses_of("text", 32, 8)
        assert clip.parameter(clip_sites[0].key).requires_grad
        if stops:
            raise KeyboardInterrupt

    try:
        scores_of(clip, "text", match_targets(["text:*"], clip_sites), losses())
    except KeyboardInterrupt:
        assert stops
    assert flags(clip) == before and sum(before.values()) == 1
    assert all(parameter.grad is None for parameter in clip.module.parameters())
    assert all(torch.equal(bits[name], tensor) for name, tensor in clip.module.state_dict().items())


def test_scoring_works_where_gradients_are_switched_off_and_leaves_them_so(clip: Any, clip_sites: list[Site]) -> None:
    sites = match_targets(["text:proj"], clip_sites)
    expected = scores_of(clip, "text", sites, losses_of("text", 8, 8))
    with torch.no_grad():
        found = scores_of(clip, "text", sites, losses_of("text", 8, 8))
        assert not torch.is_grad_enabled()
    assert all(torch.equal(found[site], expected[site]) and not found[site].requires_grad for site in sites)


# errors


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_names_its_tensor_before_anything_runs(
    clip: Any, clip_sites: list[Site], value: float
) -> None:
    (site,) = match_targets(["text:attn.out[1]"], clip_sites)
    frozen = frozen_of(clip, "text")
    clip.parameter(site.key).data[3, 5] = value
    with pytest.raises(ModelError, match=f"Tensor {site.key} holds values that are not finite"):
        score_batch_gradients(clip, "text", [site], "gradient", scorer("gradient"), iter(()), frozen)


def refused(clip: Any, tower: Any, sites: Sequence[Site], losses: Any, made: Any = None) -> EditkitError:
    with pytest.raises(EditkitError) as caught:
        score_batch_gradients(
            clip, tower, sites, "gradient", made or scorer("gradient"), losses, frozen_of(clip, tower)
        )
    return caught.value


def test_an_input_that_is_not_finite_is_an_error_and_not_a_score(clip: Any, clip_sites: list[Site]) -> None:
    (bad,) = losses_of("vision", 8, 8)[0]
    bad.inputs["pixel_values"][3, 0, 0, 0] = float("nan")
    error = refused(clip, "vision", match_targets(["vision:mlp.out"], clip_sites), [[bad]])
    assert isinstance(error, ModelError) and error.problem == "The loss is not finite."


def test_no_tuple_at_all_is_an_error(clip: Any, clip_sites: list[Site]) -> None:
    error = refused(clip, "text", match_targets(["text:proj"], clip_sites), [])
    assert isinstance(error, ScoreError) and "No tuple was left" in error.problem


def test_a_site_that_has_no_part_in_the_embeddings_is_an_error_and_not_zeros(clip: Any, clip_sites: list[Site]) -> None:
    error = refused(clip, "text", match_targets(["*:proj"], clip_sites), losses_of("text", 8, 8))
    assert isinstance(error, SiteError)
    assert error.problem.startswith("visual_projection.weight has no part in the tower's embeddings")


def test_a_loss_that_does_not_look_at_the_tower_is_an_error(clip: Any, clip_sites: list[Site]) -> None:
    class Elsewhere:
        def start(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
            return {}

        def loss(self, embedded: LossEmbeddings) -> Tensor:
            return embedded.other_safe.sum()

    error = refused(clip, "text", match_targets(["text:proj"], clip_sites), losses_of("text", 8, 8), Elsewhere())
    assert isinstance(error, ScoreError) and "does not depend on the text tower" in error.problem
