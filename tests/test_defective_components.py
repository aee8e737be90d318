"""A defect of a third-party component is named, and never becomes a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from editkit.components.protocols import LossEmbeddings
from editkit.components.site import Site, match_targets
from editkit.editing.engine import _replace
from editkit.editing.gradient_scores import score_batch_gradients, score_sample_gradients
from editkit.editing.input_scores import score_pairs
from editkit.errors import RecipeError, ScoreError, SiteError
from editkit.testing import score

Batches = Callable[..., Any]


class Sums:
    """What the scorers below share: scores of one."""

    sides: tuple[str, ...] = ("unsafe",)

    def start(self, weight: Tensor, site: Site) -> dict[str, Tensor]:
        return {}

    def update(self, *given: Any) -> None:
        """Add nothing."""

    def finish(self, state: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
        return torch.ones_like(weight)


def frozen(clip: Any) -> Tensor:
    return torch.nn.functional.normalize(torch.ones(2, 12, clip.module.config.projection_dim), dim=-1)


def test_a_scorer_that_changes_the_weights_is_named(clip: Any, clip_sites: list[Site], pair_batches: Batches) -> None:
    class Meddler(Sums):
        def update(self, state: Any, weight: Tensor, *inputs: Any) -> None:
            weight.mul_(2)

    sites = match_targets(["text:attn.out[0]"], clip_sites)
    scorers: Any = {"good": Sums(), "meddler": Meddler()}
    with pytest.raises(ScoreError, match="scorers good, meddler changed the model's weights"):
        score_pairs(clip, "text", sites, scorers, pair_batches(clip, "text", 12))


@pytest.mark.parametrize("defect", ["one number", "no side"])
def test_a_sample_scorer_without_one_loss_for_each_sample_is_named(
    clip: Any, clip_sites: list[Site], pair_batches: Batches, defect: str
) -> None:
    class Bad(Sums):
        sides = () if defect == "no side" else ("unsafe",)

        def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
            return (own * other).sum()

    sites = match_targets(["text:attn.out[0]"], clip_sites)
    scorers: Any = {"bad": Bad(), "other": type("Other", (Bad,), {"sides": ("safe",)})()}
    with pytest.raises(ScoreError, match="Scorer 'bad' names neither side, safe nor unsafe, or gave no loss"):
        score_sample_gradients(clip, "text", sites, scorers, pair_batches(clip, "text", 12), frozen(clip))


def test_a_batch_loss_that_is_not_one_number_is_named(clip: Any, clip_sites: list[Site], pair_batches: Batches) -> None:
    class Bad(Sums):
        def loss(self, embedded: LossEmbeddings) -> Tensor:
            return (embedded.own_safe * embedded.other_safe).sum(dim=1)

    sites = match_targets(["text:attn.out[0]"], clip_sites)
    scorer: Any = Bad()
    with pytest.raises(ScoreError, match=r"The loss of a batch has the shape \(12,\)"):
        score_batch_gradients(clip, "text", sites, "bad", scorer, [list(pair_batches(clip, "text", 12))], frozen(clip))


def test_a_manipulator_that_reaches_beyond_its_mask_is_named() -> None:
    site = Site("text", 0, "mlp.out", "m", "m.weight", (2, 2))
    weight = torch.ones(2, 2)
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(SiteError, match=r"changed weights of text:mlp.out\[0\] that were not selected"):
        _replace(site, weight, None, mask, {"weight": -weight})
    assert torch.equal(weight, torch.ones(2, 2))
    _replace(site, weight, None, mask, {"weight": torch.where(mask, -weight, weight)})
    assert weight.tolist() == [[-1, 1], [1, 1]]


def test_a_gradient_scorer_cannot_be_tried_on_the_inputs_of_one_weight() -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(RecipeError, match="Scorer 'snip' needs gradients of a model"):
        score("snip", torch.ones(2, 4), x, None, x, None)
