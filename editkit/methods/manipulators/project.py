"""Take the direction in which unsafe outputs differ from safe ones out of a site's outputs.

r = W (m_u - m_s) / ||W (m_u - m_s)||       W' = W - beta r r^T W       b' = b - beta r r^T b

Arditi et al., "Refusal in Language Models Is Mediated by a Single Direction", NeurIPS 2024, with the direction found
at the site itself: the bias cancels in the difference of mean outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.errors import SiteError
from editkit.methods.manipulators.options import ProjectOptions


class Project:
    """Take the share `beta` of the unsafe direction out of weight and bias: 1 all of it, 2 reflects."""

    def __init__(self, options: ProjectOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I] and, where there is one, the bias [O], solved in float64 and rounded once.

        Raises:
            SiteError: outputs on safe and unsafe samples have the same mean, so there is no direction.
        """
        moments = context.moments[site]
        difference = weight.double() @ (moments.unsafe - moments.safe)  # [O]
        length = float(difference.norm())
        if length == 0:
            raise SiteError(
                f"Safe and unsafe means are equal at {site.name}, so there is no unsafe direction to take out.",
                "Leave the site out of the targets, or check that safe and unsafe samples differ.",
            )
        direction, beta = difference / length, self.options.beta
        new = {"weight": without(weight, direction, beta=beta)}
        return new if bias is None else {**new, "bias": without(bias, direction, beta=beta)}


def without(outputs: Tensor, direction: Tensor, *, beta: float) -> Tensor:
    """Return y - beta r r^T y in the dtype of `outputs`.

    Args:
        outputs: y, [O, I] or [O].
        direction: r, [O] float64, of length 1.
        beta: share of r that is taken out.
    """
    wide = outputs.double()
    along = direction @ wide  # [I], or a scalar
    return (wide - beta * direction.view(-1, *[1] * along.dim()) * along).to(outputs.dtype)
