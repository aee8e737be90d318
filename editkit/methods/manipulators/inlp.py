"""Take out, one after the other, the directions by which a linear classifier tells unsafe from safe outputs (INLP).

w_k = (P S P)^+ P d, made a unit vector, P = P_(k-1)    P_0 = I, P_k = P_(k-1) - w_k w_k^T    W' = P_r W, b' = P_r b

Ravfogel et al., "Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection", ACL 2020, with least
squares as the classifier of every round: it is Fisher's linear discriminant, and depends on the outputs by their
covariance S and the difference d of their means alone (see `two_classes`): one pass over the data does for all rounds.
w_k lies in the range of P_(k-1), which makes the rounds' directions orthogonal and P_r the projection onto the
intersection of their null spaces, as in the paper. Rounds end before r where the means no longer differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.methods.manipulators.options import InlpOptions
from editkit.methods.manipulators.two_classes import TwoClasses, two_classes

NOTHING_LEFT = 1e-8
"""Share of the first difference of means below which what is left of it is rounding."""


class Inlp:
    """Project the outputs onto the null spaces of `rounds` classifiers."""

    def __init__(self, options: InlpOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I] and, where there is one, the bias [O], solved in float64 and rounded once.

        Raises:
            SiteError: safe and unsafe means are equal there.
        """
        wide = weight.double()
        classes = two_classes(context.moments[site], site.name).through(wide)
        projection = null_space_of_classifiers(classes, self.options.rounds)
        new = {"weight": (projection @ wide).to(weight.dtype)}
        return new if bias is None else {**new, "bias": (projection @ bias.double()).to(bias.dtype)}


def null_space_of_classifiers(classes: TwoClasses, rounds: int) -> Tensor:
    """Return P_r, [D, D] float64, symmetric and idempotent."""
    projection = torch.eye(len(classes.mean), dtype=torch.float64)
    for _ in range(rounds):
        left = classes.through(projection)
        if float(left.difference.norm()) <= NOTHING_LEFT * float(classes.difference.norm()):
            break
        direction = projection @ left.least_squares()  # rounding may have left the range
        direction = direction / direction.norm()
        projection = projection - torch.outer(direction, direction)
    return projection
