"""Which loss a scorer of gradients asks for, what its gradients in a tower give, and the released code's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
import torch
from gradient_samples import SAMPLED, batched, draw
from pair_samples import scorer
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.choice import validate_options
from editkit.components.load import default_host
from editkit.components.protocols import LossEmbeddings
from editkit.components.site import Site, match_targets
from editkit.components.specs import ScorerSpec
from editkit.errors import RecipeError
from editkit.methods.scorers.losses import g_safe_clip, g_unsafe
from editkit.testing import select

# the losses they ask for


def items(b: int = 4, d: int = 5, seed: int = 0) -> LossEmbeddings:
    own_safe, own_unsafe, other_safe, other_unsafe = normalize(draw(4, b, d, seed=seed), dim=-1)
    return LossEmbeddings(own_safe, own_unsafe, other_safe, other_unsafe)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda e: g_unsafe(e, "cross-modal")),
        ({"target": "cross-modal"}, lambda e: g_unsafe(e, "cross-modal")),
        ({"target": "same-modal"}, lambda e: g_unsafe(e, "same-modal")),
        ({"loss": "g-safe-clip"}, g_safe_clip),
    ],
)
def test_gradient_takes_the_loss_of_its_options(
    options: dict[str, Any], expected: Callable[[LossEmbeddings], Tensor]
) -> None:
    e = items()
    assert torch.equal(scorer("gradient", **options).loss(e), expected(e))


def test_a_loss_is_over_as_many_tuples_as_in_the_released_code_unless_set() -> None:
    made = scorer("gradient")
    assert (made.loss_batch("text"), made.loss_batch("vision")) == (512, 64)
    assert [scorer("gradient", loss_batch=1).loss_batch(tower) for tower in ("text", "vision")] == [1, 1]
    assert [scorer("salun").loss_batch(tower) for tower in ("text", "vision")] == [None, None]


@pytest.mark.parametrize("loss", ["alignment", "g-unsafe"])
@pytest.mark.parametrize("side", ["safe", "unsafe"])
def test_saluns_loss_is_the_mean_of_its_sides_sample_losses(side: str, loss: str) -> None:
    e = items()
    own, other, twin = (
        (e.own_safe, e.other_safe, e.other_unsafe) if side == "safe" else (e.own_unsafe, e.other_unsafe, e.other_safe)
    )
    near, far = 1 - (own * other).sum(dim=1), 1 - (own * twin).sum(dim=1)
    expected = near if loss == "alignment" else far - near
    for name in SAMPLED:
        each = scorer(name, loss=loss).loss(own, other, twin)
        torch.testing.assert_close(each, expected)
    torch.testing.assert_close(scorer("salun", side=side, loss=loss).loss(e), expected.mean())


def test_samples_come_from_the_sides_a_scorer_names() -> None:
    assert scorer("snip").sides == ("unsafe",)
    assert scorer("snip", side="safe").sides == ("safe",)
    assert scorer("fisher-ratio").sides == ("safe", "unsafe")


# a small tower: embedding = x W^T, normalised


def gradient_of(made: Any, weight: Tensor, x: LossEmbeddings, chosen: slice) -> Tensor:
    """The gradient of a batch's loss, where `x.own_*` are inputs [B, I] of the tower scored."""
    live = weight.clone().requires_grad_()
    safe, unsafe = (normalize(side[chosen] @ live.T, dim=-1) for side in (x.own_safe, x.own_unsafe))
    loss = made.loss(LossEmbeddings(safe, unsafe, x.other_safe[chosen], x.other_unsafe[chosen]))
    return torch.autograd.grad(loss, live)[0]


def batches_of(made: Any, weight: Tensor, x: LossEmbeddings, sizes: list[int]) -> list[tuple[Tensor, int]]:
    starts = np.cumsum([0, *sizes])
    return [
        (gradient_of(made, weight, x, slice(start, start + size)), size)
        for start, size in zip(starts, sizes, strict=False)
    ]


@pytest.mark.parametrize("options", [{}, {"side": "safe"}, {"loss": "g-unsafe"}])
@pytest.mark.parametrize("sizes", [[9], [4, 4, 1], [1] * 9])
def test_salun_does_not_depend_on_batches(options: dict[str, Any], sizes: list[int]) -> None:
    x, weight, made = items(b=9), draw(5, 5), scorer("salun", **options)
    found = batched(made, weight, batches_of(made, weight, x, sizes))
    torch.testing.assert_close(found, batched(made, weight, batches_of(made, weight, x, [9])), rtol=1e-5, atol=1e-7)


def test_gradient_depends_on_batches_but_not_on_how_many_the_last_one_holds() -> None:
    x, weight, made = items(b=9), draw(5, 5), scorer("gradient")
    apart = batched(made, weight, batches_of(made, weight, x, [4, 4, 1]))
    assert naive.relative(batched(made, weight, batches_of(made, weight, x, [9])), apart) > 1e-2
    parts = [gradient_of(made, weight, x, rows).abs() for rows in (slice(0, 4), slice(4, 8), slice(8, 9))]
    torch.testing.assert_close(apart, (4 * parts[0] + 4 * parts[1] + parts[2]) / 9)


def test_salun_on_safe_samples_with_g_unsafe_is_gradient_over_one_batch() -> None:
    x, weight = items(b=9), draw(5, 5)
    one, other = scorer("salun", side="safe", loss="g-unsafe"), scorer("gradient")
    torch.testing.assert_close(
        batched(one, weight, batches_of(one, weight, x, [2, 3, 4])),
        batched(other, weight, batches_of(other, weight, x, [9])),
        rtol=1e-5,
        atol=1e-7,
    )


# the released code


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("loss", ["g-unsafe", "g-safe-clip"])
def test_scores_and_selections_are_the_released_codes(
    clip: Any,
    clip_sites: list[Site],
    reference: dict[str, Tensor],
    pair_batches: Callable[..., Any],
    tower: Any,
    loss: str,
) -> None:
    made = scorer("gradient", loss=loss)
    sites = match_targets([{"text": "text:attn.out", "vision": "vision:mlp.out"}[tower]], clip_sites)
    encoders = {"text": clip.encode_texts, "vision": clip.encode_images}
    both = {name: next(iter(pair_batches(clip, name, 12))).inputs for name in encoders}
    other = "vision" if tower == "text" else "text"
    with torch.no_grad():
        frozen = encoders[other](both[other])
    weights = [clip.parameter(site.key).requires_grad_() for site in sites]
    own = encoders[tower](both[tower])
    total = made.loss(LossEmbeddings(own[:12], own[12:], frozen[:12], frozen[12:]))
    for site, weight, gradient in zip(sites, weights, torch.autograd.grad(total, weights), strict=True):
        scores = batched(made, weight.detach(), [(gradient, 12)])
        assert naive.relative(scores, reference[f"{loss}.{tower}.{site.layer}.score"]) <= 1e-5
        sparsity = 0.965 if loss == "g-unsafe" else 0.995
        adaptive = (loss, tower) == ("g-unsafe", "vision")
        rule: tuple[str, dict[str, Any]] = (
            ("adaptive", {"tau": 1 - sparsity}) if adaptive else ("topk", {"sparsity": sparsity})
        )
        selected = select(rule[0], scores, **rule[1])
        assert torch.equal(selected, reference[f"{loss}.{tower}.{site.layer}.selected"])


# options


def options_of(name: str, **given: Any) -> Any:
    return validate_options(default_host().resolve(ScorerSpec, name).options, given, "scorer")


@pytest.mark.parametrize("name", ["snip", "fisher-ratio", "salun"])
def test_a_loss_that_contrasts_a_batch_is_refused_for_single_samples_with_the_reason(name: str) -> None:
    with pytest.raises(RecipeError, match="g-safe-clip contrasts each sample with the others of its batch") as caught:
        options_of(name, loss="g-safe-clip")
    assert "the scorer `gradient` takes whole batches" in caught.value.problem
    assert caught.value.remedy.startswith("Options: ")


def test_a_target_is_refused_with_g_safe_clip() -> None:
    with pytest.raises(RecipeError, match="g-safe-clip has no target; scorer.target belongs to the loss g-unsafe"):
        options_of("gradient", loss="g-safe-clip", target="cross-modal")
    assert options_of("gradient", loss="g-safe-clip").target is None


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("gradient", {"loss": "alignment"}, r"scorer\.loss = 'alignment'"),
        ("gradient", {"loss_batch": 0}, r"scorer\.loss_batch = 0"),
        ("gradient", {"side": "safe"}, r"scorer\.side is not an option here\."),
        ("fisher-ratio", {"side": "safe"}, r"scorer\.side is not an option here\."),
        ("snip", {"side": "both"}, r"scorer\.side = 'both'"),
        ("salun", {"loss": "g-safe"}, r"scorer\.loss = 'g-safe'"),
    ],
)
def test_a_wrong_option_names_its_path(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        options_of(name, **given)
