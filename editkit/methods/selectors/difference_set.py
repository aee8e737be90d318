"""What ranks high by one scorer and not by another (Wei et al., ICML 2024): unsafe weights that nothing safe needs.

    S = top q by the scorer  minus  top p by the other scorer, of one site

Both shares are of the whole matrix, as in the authors' released code; the paper's text ranks within rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.errors import ScoreError
from editkit.methods.selectors.options import DifferenceSetOptions, count_of
from editkit.methods.selectors.per_site import require_choice, top


class DifferenceSet:
    """Select the top `fraction` (q) of each site, less the top `other_fraction` (p) by the other scorer."""

    def __init__(self, options: DifferenceSetOptions) -> None:
        self.options = options

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks [O, I]; a site whose top weights are all to be kept is left out.

        Raises:
            ScoreError: a site's scores, by either scorer, are all zero, or every site is left out.
        """
        masks = {}
        wanted = 0
        for site, values in scores.items():
            require_choice(values, site)
            others = context.other_scores["other"][site]
            self._require_other_choice(others, site)
            count = count_of(self.options.fraction, site.size)
            kept = top(others.flatten(), count_of(self.options.other_fraction, site.size))
            masks[site] = (top(values.flatten(), count) & ~kept).view(site.shape)
            wanted += count
        if not any(bool(mask.any()) for mask in masks.values()):
            raise ScoreError(
                f"All {wanted} weights in the sites' top {self.options.fraction:g} are also in the top "
                f"{self.options.other_fraction:g} by {self.options.other}, so none is left.",
                "Raise selector.fraction or lower selector.other_fraction.",
            )
        return masks

    def _require_other_choice(self, others: Tensor, site: Site) -> None:
        if not bool(others.any()):
            raise ScoreError(
                f"All {site.size} scores of {site.name} by the other scorer, {self.options.other}, are zero, so "
                "nothing tells which weights to keep.",
                "Leave the site out of the targets, or set another selector.other or selector.other_options.",
            )
