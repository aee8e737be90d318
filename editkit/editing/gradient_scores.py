"""Scores from gradients: of a loss over whole batches of tuples, or of every sample alone.

Losses are functions of embeddings. A loss over a batch with in-batch negatives is taken over all of its tuples at
once, however small the micro-batches that fit the memory: embed every micro-batch without gradients, differentiate
the loss by the embeddings, then run each micro-batch again and send its share of that gradient back through the tower
(the chain rule, exactly; Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021).

The gradient of one sample at a linear map is delta^T x, summed over tokens, with delta the gradient of its output:
one matrix product per sample, which is what the backward pass computes for the batch anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from editkit.components.guard import at
from editkit.components.protocols import BatchGradientScorer, LossEmbeddings, Model, SampleGradientScorer, State
from editkit.components.site import Site, Tower
from editkit.editing.input_scores import Scored, finish_scores
from editkit.errors import ModelError, ScoreError, SiteError
from editkit.models.batches import Batch
from editkit.models.observe import observe
from editkit.models.site_tensors import live_weight, outputs_of, require_finite_weight, weight_of

SIDES = ("safe", "unsafe")
CHUNK = 2**24
"""Elements of per-sample gradients that are held at once: 64 MiB."""

Advance = Callable[[int], None]


def embed_pairs(model: Model, tower: Tower, batches: Iterable[Batch], pairs: int, on_batch: Advance) -> Tensor:
    """Return the embeddings [2, pairs, D] float32 of safe and unsafe samples; NaN where no batch held a pair."""
    encode = model.encode_texts if tower == "text" else model.encode_images
    made: Tensor | None = None
    with torch.no_grad():
        for batch in batches:
            embedded = torch.stack(encode(batch.inputs).chunk(2))  # [2, B, D]
            if made is None:
                made = embedded.new_full((2, pairs, embedded.shape[-1]), float("nan"))
            made[:, list(batch.groups)] = embedded
            on_batch(len(batch.groups))
    if made is None:
        raise ScoreError(f"No pair was left to embed with the {tower} tower.", "Check captions, images and limits.")
    return made


def score_batch_gradients(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    name: str,
    scorer: BatchGradientScorer,
    losses: Iterable[Sequence[Batch]],
    frozen: Tensor,
    *,
    notes: bool = False,
    on_batch: Advance = lambda pairs: None,
) -> Scored:
    """Score `sites` by the gradients of a loss over batches of tuples.

    Args:
        losses: for each loss its micro-batches; rows 0..B-1 are safe samples, rows B..2B-1 unsafe ones.
        frozen: [2, n, D] embeddings of all tuples in the other tower, safe then unsafe, by their groups.
        notes: whether the scorer counts what was degenerate.

    Raises:
        ModelError: a weight, a loss or a gradient is not finite.
        SiteError: a site has no part in the embeddings.
        ScoreError: there was no tuple, or the loss does not depend on this tower.
    """
    states = _start(model, sites, {name: scorer})
    keys = list(dict.fromkeys(site.key for site in sites))
    seen = 0
    with _differentiable(model, keys):
        for parts in losses:
            groups = [group for part in parts for group in part.groups]
            upstream = _by_embeddings(model, tower, scorer, parts, frozen[:, groups])  # [2, B, D]
            gradients = _send_back(model, tower, parts, upstream, keys, on_batch)
            for site in sites:
                gradient = weight_of(gradients[site.key], site)
                _require_finite(gradient, f"the gradient at {site.name}")
                with at(site):
                    scorer.update(states[name, site], live_weight(model, site), gradient, len(groups))
            seen += len(groups)
    _require_some(seen, tower)
    return finish_scores(name, scorer, states, sites, lambda site: live_weight(model, site), notes=notes)


def score_sample_gradients(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    scorers: Mapping[str, SampleGradientScorer],
    batches: Iterable[Batch],
    frozen: Tensor,
    *,
    noting: Collection[str] = (),
    on_batch: Advance = lambda pairs: None,
) -> dict[str, Scored]:
    """Score `sites` by the gradients of single samples; one forward pass serves every scorer.

    Args:
        batches: rows 0..B-1 are safe samples, rows B..2B-1 unsafe ones.
        frozen: [2, n, D] embeddings of all tuples in the other tower, safe then unsafe, by their groups.
        noting: those of the scorers that count what was degenerate.

    Raises:
        ModelError: a weight, a loss or a gradient is not finite.
        SiteError: a site did not run exactly once per forward pass, or has no part in the embeddings.
        ScoreError: there was no tuple.
    """
    states = _start(model, sites, scorers)
    seen = 0
    with _differentiable(model, [site.key for site in sites]):
        for batch in batches:
            _add_samples(model, tower, sites, scorers, states, batch, frozen[:, list(batch.groups)])
            seen += len(batch.groups)
            on_batch(len(batch.groups))
    _require_some(seen, tower)
    return {
        name: finish_scores(name, scorer, states, sites, lambda s: live_weight(model, s), notes=name in noting)
        for name, scorer in scorers.items()
    }


def sample_gradients(x: Tensor, delta: Tensor) -> Iterator[Tensor]:
    """[B, T, I] inputs and [B, T, O] gradients of outputs -> the gradients [n, O, I] of n samples at a time."""
    step = max(1, CHUNK // (x.shape[-1] * delta.shape[-1]))
    for start in range(0, len(x), step):
        yield delta[start : start + step].transpose(1, 2) @ x[start : start + step]


def _add_samples(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    scorers: Mapping[str, SampleGradientScorer],
    states: Mapping[tuple[str, Site], State],
    batch: Batch,
    known: Tensor,
) -> None:
    """Add the gradients of one batch's samples to the scorers' sums; `known` is [2, B, D], of the other tower."""
    size = len(batch.groups)
    sides = [index for index, side in enumerate(SIDES) if any(side in scorer.sides for scorer in scorers.values())]
    inputs: dict[Site, Tensor] = {}
    outputs: dict[Site, Tensor] = {}

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        inputs[site], outputs[site] = x.detach(), y

    with observe(model, sites, receive) as observer:
        own = _encode(model, tower, batch, sides)  # [B, D] by side
        observer.expect_one_run()
    for place, (name, scorer) in enumerate(scorers.items(), start=1):
        wanted = [side for side in sides if SIDES[side] in scorer.sides]
        losses = [scorer.loss(own[side], known[side], known[1 - side]) for side in wanted]
        if not losses or any(tuple(each.shape) != (size,) for each in losses):
            raise ScoreError(
                f"Scorer '{name}' names neither side, {' nor '.join(SIDES)}, or gave no loss for each of its samples.",
                "This is a defect of the scorer: tell its author.",
            )
        loss = torch.stack(losses).sum()
        _require_finite(loss, f"the loss of scorer '{name}'")
        by_name = {site.name: outputs[site] for site in sites}
        deltas = _differentiate(loss, by_name, retain_graph=place < len(scorers))
        for site in sites:
            weight, delta = live_weight(model, site), outputs_of(deltas[site.name], site)  # [O, I], [k * B, T, O]
            for side in wanted:
                rows = slice(sides.index(side) * size, (sides.index(side) + 1) * size)
                for gradients in sample_gradients(inputs[site][rows].float(), delta[rows].float()):
                    _require_finite(gradients, f"a gradient at {site.name}")
                    with at(site):
                        scorer.update(states[name, site], weight, SIDES[side], gradients)


def _by_embeddings(
    model: Model, tower: Tower, scorer: BatchGradientScorer, parts: Sequence[Batch], known: Tensor
) -> Tensor:
    """Return the gradient [2, B, D] of a loss by the embeddings of its B tuples."""
    with torch.no_grad():
        own = torch.cat([torch.stack(_encode(model, tower, part, [0, 1])) for part in parts], dim=1)  # [2, B, D]
    own.requires_grad_()
    loss = scorer.loss(LossEmbeddings(own[0], own[1], known[0], known[1]))
    if loss.dim():
        raise ScoreError(
            f"The loss of a batch has the shape {tuple(loss.shape)}, not that of one number.",
            "This is a defect of the scorer: tell its author.",
        )
    _require_finite(loss, "the loss")
    (upstream,) = torch.autograd.grad(loss, own, allow_unused=True) if loss.requires_grad else (None,)
    if upstream is None:
        raise ScoreError(
            f"The loss does not depend on the {tower} tower, so it has no gradient there.",
            "This is a defect of the scorer: tell its author.",
        )
    return upstream


def _send_back(
    model: Model, tower: Tower, parts: Sequence[Batch], upstream: Tensor, keys: Sequence[str], on_batch: Advance
) -> dict[str, Tensor]:
    """Return the float32 gradients at the tensors `keys` that the embeddings' gradients [2, B, D] cause."""
    tensors = {key: model.parameter(key) for key in keys}
    gradients = {key: torch.zeros_like(tensor, dtype=torch.float32) for key, tensor in tensors.items()}
    # that of a mean over B tuples would underflow in float16; a power of two costs the other types no bit
    scale = 2.0 ** upstream.shape[1].bit_length()
    done = 0
    for part in parts:
        share = upstream[:, done : done + len(part.groups)] * scale
        done += len(part.groups)
        sides = [side for side in (0, 1) if bool(share[side].any())]  # detached samples need no second pass
        if sides:
            own = _encode(model, tower, part, sides)
            total = torch.stack([(own[side] * share[side]).sum() for side in sides]).sum()
            for key, gradient in _differentiate(total, tensors).items():
                gradients[key].add_(gradient.float(), alpha=1 / scale)
        on_batch(len(part.groups))
    return gradients


def _differentiate(total: Tensor, tensors: Mapping[str, Tensor], *, retain_graph: bool = False) -> dict[str, Tensor]:
    """Return the gradients of a scalar by tensors, under their names.

    Raises:
        SiteError: one of them has no part in it.
    """
    found: Sequence[Tensor | None] = [None] * len(tensors)
    if total.requires_grad:
        found = torch.autograd.grad(total, list(tensors.values()), retain_graph=retain_graph, allow_unused=True)
    if idle := [name for name, gradient in zip(tensors, found, strict=True) if gradient is None]:
        raise SiteError(
            f"{idle[0]} has no part in the tower's embeddings, so it has no gradient.", "Take it out of the targets."
        )
    return {name: gradient for name, gradient in zip(tensors, found, strict=True) if gradient is not None}


def _encode(model: Model, tower: Tower, batch: Batch, sides: Sequence[int]) -> list[Tensor]:
    """Return the embeddings [B, D] of a batch by side; only the sides asked for are run, the others are empty."""
    encode = model.encode_texts if tower == "text" else model.encode_images
    size = len(batch.groups)
    rows = torch.cat([torch.arange(side * size, (side + 1) * size) for side in sides])
    whole = len(sides) == len(SIDES)
    embedded = encode({name: x if whole else x[rows.to(x.device)] for name, x in batch.inputs.items()})
    found = [embedded.new_zeros(0, embedded.shape[-1]) for _ in SIDES]
    for side, part in zip(sides, embedded.chunk(len(sides)), strict=True):
        found[side] = part
    return found


@contextmanager
def _differentiable(model: Model, keys: Sequence[str]) -> Iterator[None]:
    """Let gradients reach the tensors `keys`, and nothing else; as it was afterwards."""
    before = {key: model.parameter(key).requires_grad for key in keys}
    try:
        for key in before:
            model.parameter(key).requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for key, flag in before.items():
            model.parameter(key).requires_grad_(flag)


def _start(
    model: Model, sites: Sequence[Site], scorers: Mapping[str, BatchGradientScorer | SampleGradientScorer]
) -> dict[tuple[str, Site], State]:
    states = {}
    for site in sites:
        weight = live_weight(model, site)
        require_finite_weight(weight, site.key)
        for name, scorer in scorers.items():
            states[name, site] = scorer.start(weight, site)
    return states


def _require_finite(x: Tensor, what: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise ModelError(
            f"{what[0].upper()}{what[1:]} is not finite.", "Compute in --dtype float32, or check the weights for NaN."
        )


def _require_some(tuples: int, tower: Tower) -> None:
    if not tuples:
        raise ScoreError(f"No tuple was left to calibrate the {tower} tower on.", "Check captions, images and limits.")
