"""The released code's numbers, from the real adapter on the reference model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from naive import relative
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.site import Site, match_targets
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs
from editkit.files.bits import to_bits
from editkit.testing import select

ROLES = {"text": "attn.out", "vision": "mlp.out"}
SELECTION: dict[str, tuple[str, dict[str, Any]]] = {
    "uwm": ("adaptive", {"tau": 0.02}),
    "difference": ("topk", {"fraction": 0.02}),
    "unsafe": ("topk", {"fraction": 0.02}),
}
PAIRS = 12
BOTH_TOWERS = pytest.mark.parametrize("tower", ["text", "vision"])


def released(reference: dict[str, Tensor], scorer: str, site: Site, what: str) -> Tensor:
    return reference[f"{scorer}.{site.tower}.{site.layer}.{what}"]


@BOTH_TOWERS
@pytest.mark.parametrize("batch_size", [1, 5, PAIRS])
def test_scores_and_selections_are_the_released_codes(
    clip: Any,
    clip_sites: list[Site],
    reference: dict[str, Tensor],
    pair_batches: Callable[..., Any],
    tower: Any,
    batch_size: int,
) -> None:
    sites = match_targets([f"{tower}:{ROLES[tower]}"], clip_sites)
    specs = {name: default_host().resolve(ScorerSpec, name) for name in SELECTION}
    scorers = {name: spec.load()(spec.options()) for name, spec in specs.items()}
    found = score_pairs(clip, tower, sites, scorers, pair_batches(clip, tower, batch_size))
    assert len(sites) == 2
    for name, (selector, options) in SELECTION.items():
        for site in sites:
            scores = found[name].scores[site]
            assert relative(scores, released(reference, name, site, "score")) <= 1e-5
            assert torch.equal(select(selector, scores, **options), released(reference, name, site, "selected"))


@BOTH_TOWERS
@pytest.mark.parametrize("scorer", SELECTION)
@pytest.mark.parametrize("layer", [0, 1])
def test_the_released_codes_own_scores_give_its_selections(
    reference: dict[str, Tensor], scorer: str, tower: str, layer: int
) -> None:
    selector, options = SELECTION[scorer]
    mask = select(selector, reference[f"{scorer}.{tower}.{layer}.score"], **options)
    assert torch.equal(mask, reference[f"{scorer}.{tower}.{layer}.selected"])


@pytest.mark.parametrize(("scorer", "sparsity"), [("g-unsafe", 0.965), ("g-safe-clip", 0.995)])
@pytest.mark.parametrize("layer", [0, 1])
def test_sparsity_means_what_it_means_in_the_released_code(
    reference: dict[str, Tensor], scorer: str, sparsity: float, layer: int
) -> None:
    mask = select("topk", reference[f"{scorer}.text.{layer}.score"], sparsity=sparsity)
    assert torch.equal(mask, reference[f"{scorer}.text.{layer}.selected"])


def test_the_token_mask_is_the_released_codes(clip: Any, reference: dict[str, Tensor]) -> None:
    ids = reference["input_ids"].tolist()
    inputs, mask = clip.text_inputs(ids, "real")
    assert torch.equal(mask, reference["attention_mask"].bool())
    assert torch.equal(inputs["input_ids"], reference["input_ids"])
    assert not mask.all()


def test_captions_cut_to_their_own_length_give_the_same_embeddings(clip: Any, reference: dict[str, Tensor]) -> None:
    whole = clip.encode_texts({"input_ids": reference["input_ids"]})
    for row, (ids, mask) in enumerate(zip(reference["input_ids"], reference["attention_mask"], strict=True)):
        short = clip.encode_texts({"input_ids": ids[mask.bool()][None]})
        assert relative(short[0], whole[row]) <= 1e-6


@BOTH_TOWERS
def test_a_calibrated_model_equals_itself_bit_for_bit(
    clip: Any, clip_sites: list[Site], reference: dict[str, Tensor], pair_batches: Callable[..., Any], tower: Any
) -> None:
    before = {name: tensor.clone() for name, tensor in clip.module.state_dict().items()}
    embed = {
        "text": lambda: clip.encode_texts({"input_ids": reference["input_ids"]}),
        "vision": lambda: clip.encode_images({"pixel_values": reference["pixel_values"]}),
    }[tower]
    embeddings = embed()
    spec = default_host().resolve(ScorerSpec, "uwm")
    sites = match_targets([f"{tower}:attn.*", f"{tower}:mlp.*"], clip_sites)
    score_pairs(clip, tower, sites, {"uwm": spec.load()(spec.options())}, pair_batches(clip, tower, 5))
    after = clip.module.state_dict()
    assert before.keys() == after.keys()
    assert all(
        np.array_equal(to_bits(before[name]), to_bits(after[name])) for name in before if name.endswith("weight")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(embeddings, embed())
    assert not any(module._forward_pre_hooks for module in clip.module.modules())
