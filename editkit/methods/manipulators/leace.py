"""Erase what linear classifiers can tell of unsafe from safe, moving the site's vectors least (LEACE).

r(x) = x - V^+ (V c) (V c)^+ V (x - m),   V = (S^1/2)^+      = x - d a^T (x - m) / (a^T d),   a = S^+ d

Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023, Sec. 4, for a concept of two
values: S is the total covariance, c = cov(x, z) = d / 4 and d the difference of the class means (see `two_classes`).
With P = I - d a^T / (a^T d), at the `outputs` W' = P W and b' = b + (I - P) W m; at the `inputs` W' = W P and
b' = b + W (I - P) m. A site without a bias, as CLIP's projections are, has no place for the constant, and it is left
out: both classes then still have one mean, so no linear classifier with an intercept finds more, but embeddings move by
a constant that cosines see.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.methods.manipulators.options import LeaceOptions
from editkit.methods.manipulators.two_classes import two_classes


class Leace:
    """Fold the eraser of a site's outputs, or of its inputs, into weight and bias."""

    def __init__(self, options: LeaceOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I] and, where there is one, the bias [O], solved in float64 and rounded once.

        Raises:
            SiteError: safe and unsafe means are equal there.
        """
        wide = weight.double()
        inputs = two_classes(context.moments[site], site.name)
        erased = inputs.through(wide) if self.options.of == "outputs" else inputs
        along = erased.least_squares()  # a
        direction = erased.difference / (along @ erased.difference)  # d / (a^T d)
        constant = direction * (along @ erased.mean)
        if self.options.of == "outputs":
            change = torch.outer(direction, along @ wide)
        else:
            change, constant = torch.outer(wide @ direction, along), wide @ constant
        new = {"weight": (wide - change).to(weight.dtype)}
        return new if bias is None else {**new, "bias": (bias.double() + constant).to(bias.dtype)}
