"""A scorer at a small site with the inputs and gradients of a few tuples, as the clauses of the contract look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.choice import Choice
from editkit.components.inputs import Inputs
from editkit.components.protocols import LossEmbeddings, State
from editkit.components.site import Site, Tower
from editkit.components.specs import ScorerSpec
from editkit.editing.gradient_scores import SIDES, sample_gradients
from editkit.testing.contract import build, require

OUTPUTS, INPUTS, PAIRS, TOKENS = 4, 7, 6, 5


@dataclass(frozen=True)
class Pairs:
    """B tuples at one site: rows 0 are the safe samples, rows 1 the unsafe ones."""

    x: Tensor
    """[2, B, T, I] inputs."""
    mask: Tensor
    """[2, B, T] bool, tokens that count."""
    other: Tensor
    """[2, B, O] embeddings in the other tower, normalised."""

    def __len__(self) -> int:
        return self.x.shape[1]

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.x[:, rows], self.mask[:, rows], self.other[:, rows])

    def inputs(self, side: int) -> Inputs:
        """Return one side's inputs."""
        return Inputs(self.x[side], self.mask[side])

    def embed(self, outputs: Tensor) -> Tensor:
        """[2, B, T, O] outputs of the site -> [2, B, O] embeddings of a tower of nothing else: their means."""
        keep = self.mask[..., None].float()
        return normalize((outputs * keep).sum(dim=2) / keep.sum(dim=2), dim=-1)


def drawn_pairs(pairs: int = PAIRS, tokens: int = TOKENS) -> Pairs:
    """Return tuples of normal inputs whose samples have from two to `tokens` tokens."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, pairs, tokens, INPUTS, generator=draw)
    x[1] *= 1.5
    lengths = torch.arange(2 * pairs).view(2, pairs) % max(1, tokens - 1) + min(2, tokens)
    mask = torch.arange(tokens) < lengths[..., None]
    return Pairs(x, mask, normalize(torch.randn(2, pairs, OUTPUTS, generator=draw), dim=-1))


def drawn_weight() -> Tensor:
    """Return a normal weight [O, I]."""
    return torch.randn(OUTPUTS, INPUTS, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Case:
    """A scorer at a site of one tower; what is called here is handed in, or built anew for each pass."""

    choice: Choice
    tower: Tower = "text"
    pooled: bool = False

    @property
    def spec(self) -> ScorerSpec:
        return cast(ScorerSpec, self.choice.spec)

    @property
    def site(self) -> Site:
        return Site(
            self.tower, 0, "mlp.out", "layer", "layer.weight", (OUTPUTS, INPUTS), bias="layer.bias", pooled=self.pooled
        )

    def of(self, tower: Tower) -> Case:
        return replace(self, tower=tower)

    def state(self, scorer: Any, weight: Tensor, batches: Sequence[Pairs]) -> State:
        """Return the sums over batches of tuples, or over the losses of those batches."""
        with torch.no_grad():
            state: State = scorer.start(weight, self.site)
            for pairs in batches:
                for given in self.updates(scorer, weight, pairs):
                    scorer.update(state, weight, *given)
        return state

    def finish(self, scorer: Any, weight: Tensor, state: State) -> Tensor:
        """Return the scores that sums make, required to be float32 [O, I] and finite."""
        with torch.no_grad():
            scores = scorer.finish(state, weight, self.site)
        require(isinstance(scores, Tensor), f"`finish` returned a {type(scores).__name__}")
        found = f"scores are {scores.dtype} {tuple(scores.shape)}"
        require(scores.dtype == torch.float32 and tuple(scores.shape) == self.site.shape, found)
        require(bool(scores.isfinite().all()), f"{int((~scores.isfinite()).sum())} scores are not finite")
        return cast(Tensor, scores)

    def scores(self, weight: Tensor, *batches: Pairs) -> Tensor:
        """Return the scores [O, I] of batches of tuples, by one new scorer."""
        scorer = build(self.choice)
        return self.finish(scorer, weight, self.state(scorer, weight, batches))

    def updates(self, scorer: Any, weight: Tensor, pairs: Pairs) -> Iterator[tuple[Any, ...]]:
        """Yield what `update` is given after sums and weight, as the spec's `needs` says, for one batch."""
        if self.spec.needs == "inputs":
            yield pairs.inputs(0), pairs.inputs(1)
        elif self.spec.needs == "gradients":
            yield batch_gradient(scorer, weight, pairs), len(pairs)
        elif self.spec.needs == "sample-gradients":
            for side in scorer.sides:
                yield from ((side, found) for found in side_gradients(scorer, weight, pairs, SIDES.index(side)))


def batch_loss(scorer: Any, own: Tensor, pairs: Pairs) -> Tensor:
    """Return the loss of a batch whose embeddings in the tower that is scored are `own` [2, B, O]."""
    with torch.enable_grad():
        loss: Tensor = scorer.loss(LossEmbeddings(own[0], own[1], pairs.other[0], pairs.other[1]))
    return loss


def batch_gradient(scorer: Any, weight: Tensor, pairs: Pairs) -> Tensor:
    """Return the gradient [O, I] of the loss of a batch."""
    with torch.enable_grad():
        leaf = weight.clone().requires_grad_()
        own = pairs.embed(pairs.x @ leaf.T)
        (gradient,) = torch.autograd.grad(batch_loss(scorer, own, pairs), leaf)
    return gradient


def side_losses(scorer: Any, own: Tensor, pairs: Pairs, side: int) -> Tensor:
    """Return the losses [B] of one side's samples, whose embeddings are `own` [B, O]."""
    with torch.enable_grad():
        losses: Tensor = scorer.loss(own, pairs.other[side], pairs.other[1 - side])
    return losses


def side_gradients(scorer: Any, weight: Tensor, pairs: Pairs, side: int) -> Iterator[Tensor]:
    """Yield the gradients [n, O, I] of the losses of one side's samples."""
    with torch.enable_grad():
        outputs = (pairs.x @ weight.T).requires_grad_()
        losses = side_losses(scorer, pairs.embed(outputs)[side], pairs, side)
        (delta,) = torch.autograd.grad(losses.sum(), outputs)
    yield from sample_gradients(pairs.x[side], delta[side])
