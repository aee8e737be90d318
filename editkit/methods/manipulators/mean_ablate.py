"""Replace selected inputs by their mean on safe samples, which folds into the bias.

b' = b + sum over selected i of W[:, i] m_s[i]       W'[:, i] = 0 for selected i

The output at x = m_s stays as it is, whereas pruning the same columns would shift it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.spec import NoOptions
from editkit.errors import SiteError


class MeanAblate:
    """Cut whole input columns out of the weight and add what they gave on average to the bias."""

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I] with selected columns at 0, and the bias [O], summed in float64 and rounded once.

        Raises:
            SiteError: a column is selected in part.
        """
        assert bias is not None  # `require_bias` is this manipulator's `check_site`
        columns = mask.all(dim=0)  # [I]
        partial = int((mask.any(dim=0) & ~columns).sum())
        if partial:
            raise SiteError(
                f"mean-ablate replaces whole inputs, and {partial} of the {len(columns)} inputs of {site.name} "
                "are selected in part.",
                "Use the selector units with selector.axis inputs.",
            )
        mean = context.moments[site].safe[columns]  # [number selected]
        given = weight[:, columns].double() @ mean  # [O]
        return {"weight": weight.masked_fill(mask, 0), "bias": (bias.double() + given).to(bias.dtype)}
