"""Add what several checkpoints changed, their task vectors, to the selected weights.

tau_k = W_k - W        W' = W + lambda tau on the selection
average                tau = mean over k of tau_k
ties                   tau = mean of the t_k != 0 that have the sign of sum over k of t_k, 0 where there are none
                       t_k = tau_k where it is among the `density` largest |tau_k| of its site, else 0

Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023: lambda < 0 negates, and the number of checkpoints sums
them. Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023: trim, elect a sign, merge.
Here each site is trimmed by itself, of equal sizes the earlier stay; the paper trims a whole task vector at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.errors import ModelError
from editkit.methods.manipulators.options import MergeOptions


class Merge:
    """Merge the checkpoints `models` into the selection; biases are left alone."""

    def __init__(self, options: MergeOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], merged where `mask` is set and rounded once to its own dtype.

        Raises:
            ModelError: a checkpoint's weight has another shape.
        """
        wide = weight if weight.dtype == torch.float64 else weight.float()
        vectors = []
        for source, held in zip(self.options.models, context.other_checkpoints, strict=True):
            if held[site].shape != weight.shape:
                raise ModelError(
                    f"{site.name} is {list(weight.shape)} here and {list(held[site].shape)} in {source}.",
                    "Give checkpoints of the same architecture as manipulator.models.",
                )
            vectors.append(held[site].to(wide.dtype) - wide)
        options = self.options
        vector = torch.stack(vectors).mean(dim=0) if options.how == "average" else ties(vectors, options.density)
        step = options.amount * vector
        return {"weight": torch.where(mask & (step != 0), (wide + step).to(weight.dtype), weight)}


def ties(vectors: Sequence[Tensor], density: float) -> Tensor:
    """Return the merged task vector, [O, I].

    Args:
        vectors: tau_k, [O, I] each.
        density: share of the entries of each that is kept, at least one.
    """
    kept = torch.stack([trimmed(vector, density) for vector in vectors])  # [k, O, I]
    elected = kept.sign() == kept.sum(dim=0).sign()
    agreeing = elected & (kept != 0)
    return (kept * agreeing).sum(dim=0) / agreeing.sum(dim=0).clamp(min=1)


def trimmed(vector: Tensor, density: float) -> Tensor:
    """Return a task vector without all but the `density` of its entries that are largest in size."""
    count = max(1, int(density * vector.numel()))
    order = vector.abs().flatten().argsort(descending=True, stable=True)
    keep = torch.zeros(vector.numel(), dtype=torch.bool)
    keep[order[:count]] = True
    return torch.where(keep.view_as(vector), vector, 0)
