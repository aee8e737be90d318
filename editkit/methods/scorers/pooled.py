"""Scores from sums over every real token of every sample: what `wanda`, `multiflow` and their ratios share.

With X the inputs of one side, all real tokens of all its samples pooled [N, I], a column's norm is

    ||X_i|| = sqrt(sum over samples and real tokens of x_i^2)

A sample counts by its number of tokens, unlike in `uwm`, where every pair counts alike. A sample without real tokens
adds nothing.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import State
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.methods.scorers.options import SideOptions

LARGEST = 1e30
"""Ratios are cut here: over a safe side of denormals a ratio leaves float32, and scores have to be finite."""

SomeOptions = TypeVar("SomeOptions", bound=Options)


class PooledScorer(Generic[SomeOptions]):
    """Float64 sums over samples and tokens: a subclass says which, and what score they `finish` in."""

    def __init__(self, options: SomeOptions) -> None:
        self.options = options

    def sums(self, safe: Inputs, unsafe: Inputs) -> State:
        """Return the sums over B pairs, each [I] or a number, float64."""
        raise NotImplementedError

    def start(self, weight: Tensor, site: Site) -> State:
        """Return the sums of no pairs."""
        nothing = Inputs(weight.new_zeros(0, 1, weight.shape[1]), None)
        return self.sums(nothing, nothing)

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        """Add B pairs."""
        for name, total in self.sums(safe, unsafe).items():
            state[name] += total

    def notes(self, state: State, weight: Tensor) -> dict[str, int]:
        """Count the rows of zero weights, which score 0."""
        return {"zero_rows": int((~weight.any(dim=1)).sum())}


class SideScorer(PooledScorer[SideOptions]):
    """A score from the column norms of one side's inputs."""

    def sums(self, safe: Inputs, unsafe: Inputs) -> State:
        """Return the sum of squares of the side that the option `side` names."""
        return {"squares": squares(safe if self.options.side == "safe" else unsafe)}

    def norms(self, state: State, weight: Tensor) -> Tensor:
        """Return ||X_i||, [I] float32, where `weight` is."""
        return state["squares"].sqrt().to(weight)


class RatioScorer(PooledScorer[SomeOptions]):
    """A score from the ratio of an input unit's importance on unsafe inputs to that on safe ones.

    Where the safe importance is 0 the ratio is undefined: that column scores 0 and `notes` counts it.
    """

    def sums_of(self, inputs: Inputs) -> State:
        """Return the sums over B samples of one side."""
        raise NotImplementedError

    def importance(self, sums: State) -> Tensor:
        """Return each input unit's importance on one side, [I] float64, not negative."""
        raise NotImplementedError

    def sums(self, safe: Inputs, unsafe: Inputs) -> State:
        """Return the sums of both sides."""
        sides = (("safe", safe), ("unsafe", unsafe))
        return {f"{side}.{name}": total for side, inputs in sides for name, total in self.sums_of(inputs).items()}

    def ratio(self, state: State, weight: Tensor) -> Tensor:
        """Return unsafe over safe importance, [I] float32, where `weight` is."""
        safe, unsafe = self._importance(state, "safe"), self._importance(state, "unsafe")
        return torch.where(safe > 0, unsafe / safe, 0).clamp(max=LARGEST).to(weight)

    def notes(self, state: State, weight: Tensor) -> dict[str, int]:
        """Count what was degenerate: columns whose ratio is undefined, rows of zeros."""
        undefined = self._importance(state, "safe") == 0
        return {"empty_columns": int(undefined.sum()), **super().notes(state, weight)}

    def _importance(self, state: State, side: str) -> Tensor:
        prefix = f"{side}."
        return self.importance({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


def float64(x: Tensor) -> Tensor:
    """Return `x` as float64; on the CPU where the device (mps) has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def squares(inputs: Inputs) -> Tensor:
    """Return the sum of x_i^2 over the real tokens of B samples, [I] float64."""
    return float64(inputs.norm).square().sum(dim=0)
