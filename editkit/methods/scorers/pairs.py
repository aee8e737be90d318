"""Scores that are means over pairs of rank-one matrices, without ever building the [B, O, I] tensor.

UWM's saliency of one sample (WACV 2026, Eq. 8) is an outer product, phi[o, i] = r[o] * z[i] * c[i], with
r = |W| z / I over inputs, z the token norms and c the column means of |W|. A mean over B pairs of outer
products is one [O, B] x [B, I] matmul, so scoring a batch costs as much as one more token per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.methods.scorers.options import PriorOptions

EPS = 1e-8
"""Added to each standard deviation (the released code adds it for vision only; text moves by less than 1e-6)."""

Factors = tuple[Tensor, Tensor]
"""Rows [B, O] and columns [B, I] of B rank-one matrices."""

SomeOptions = TypeVar("SomeOptions", bound=Options)


class PairScorer(Generic[SomeOptions]):
    """Means over pairs of rank-one terms: a subclass gives the `factors` of each term and `combine`s the means.

    In one pair, a column is left out of that column's mean where the ratio is undefined: its safe norm is 0, or
    one of its standard deviations is 0 while its norm is not (a constant channel); and so is the whole pair where
    a sample has fewer than two tokens. A column that no pair
    defines, and a row of zero weights, score 0. `notes` counts all three.
    """

    def __init__(self, options: SomeOptions) -> None:
        self.options = options

    def factors(self, weight: Tensor, safe: Inputs, unsafe: Inputs) -> Mapping[str, Factors]:
        """Return each term's rows [B, O] and columns [B, I] for B pairs."""
        raise NotImplementedError

    def combine(self, means: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
        """Return the score [O, I] from each term's mean over pairs [O, I]."""
        raise NotImplementedError

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no pairs."""
        return {"pairs": weight.new_zeros(()), "usable": weight.new_zeros(weight.shape[1])}

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        """Add B pairs."""
        usable = usable_columns(safe, unsafe)  # [B, I]
        state["pairs"] += usable.shape[0]
        state["usable"] += usable.sum(dim=0)
        for name, (rows, columns) in self.factors(weight, safe, unsafe).items():
            total = state.setdefault(f"sum.{name}", torch.zeros_like(weight))
            total.addmm_(rows.T, torch.where(usable, columns, 0))  # [O, B] x [B, I]

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        """Return the scores [O, I]."""
        usable = state["usable"]
        means = {
            name.removeprefix("sum."): total / usable.clamp(min=1)
            for name, total in state.items()
            if name.startswith("sum.")
        }
        scores = self.combine(means, weight, site)
        scores = torch.where(usable > 0, scores, 0)
        return torch.where(weight.any(dim=1, keepdim=True), scores, 0)

    def notes(self, state: State, weight: Tensor) -> dict[str, int]:
        """Count what was degenerate: (pair, column) cells left out, columns without a pair, rows of zeros."""
        usable = state["usable"]
        return {
            "cells_left_out": int(state["pairs"]) * len(usable) - int(usable.sum(dtype=torch.float64)),
            "empty_columns": int((usable == 0).sum()),
            "zero_rows": int((~weight.any(dim=1)).sum()),
        }


def usable_columns(safe: Inputs, unsafe: Inputs) -> Tensor:
    """Return [B, I] bool: the columns of each pair whose ratio is defined (method page, degenerate cases)."""
    constant = (unsafe.std == 0) & (unsafe.norm > 0)
    enough = (safe.count > 1) & (
        unsafe.count > 1
    )  # [B, 1]; the engine drops such pairs, `editkit.testing.methods` does not
    return enough & (safe.norm > 0) & (safe.std > 0) & ~constant


def saliency(magnitude: Tensor, inputs: Inputs) -> Factors:
    """Return phi / s of Eqs. 8 and 9 for each sample: rows |W| z / I and columns z c / s; `magnitude` is |W| [O, I]."""
    rows = inputs.norm @ magnitude.T / magnitude.shape[1]  # [B, O]
    return rows, inputs.norm * magnitude.mean(dim=0) / (inputs.std + EPS)  # [B, I]


def apply_prior(scores: Tensor, weight: Tensor, site: Site, options: PriorOptions) -> Tensor:
    """Return the scores times |W| where the option `prior` names the site's tower."""
    return scores * weight.abs() if options.prior in ("both", site.tower) else scores


def pair_scorer(formula: Callable[[Tensor, Inputs, Inputs], Factors]) -> type[PairScorer[Options]]:
    """Make a scorer of one formula: `formula(weight, safe, unsafe)` gives rows [B, O] and columns [B, I].

    Example: the token norm of unsafe inputs, for every output alike.

        @pair_scorer
        def unsafe_norm(weight, safe, unsafe):
            return torch.ones(len(unsafe.norm), len(weight)), unsafe.norm
    """

    class OneFormula(PairScorer[Options]):
        def factors(self, weight: Tensor, safe: Inputs, unsafe: Inputs) -> Mapping[str, Factors]:
            return {"score": formula(weight, safe, unsafe)}

        def combine(self, means: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
            return means["score"]

    OneFormula.__name__ = OneFormula.__qualname__ = formula.__name__
    OneFormula.__doc__ = formula.__doc__
    return OneFormula
