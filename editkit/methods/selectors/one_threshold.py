"""A fixed share of all of a tower's weights: one threshold for every site, so some sites give more than others.

    k = n - int((1 - fraction) n), n = the sites' weights together

Scores of different sites are compared as they are: a scorer whose unit differs from site to site favours some sites.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.errors import ScoreError
from editkit.methods.selectors.options import GlobalOptions, count_of
from editkit.methods.selectors.per_site import require_finite, top


class Global:
    """Select exactly k weights of a tower; of equal scores the later site first, in it the higher flat index."""

    def __init__(self, options: GlobalOptions) -> None:
        self.options = options

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks [O, I]; that of a site with low scores may be empty.

        Raises:
            ScoreError: the scores of all sites are zero, or one is not finite.
        """
        for site, values in scores.items():
            require_finite(values, site)
        joined = torch.cat([values.flatten() for values in scores.values()])  # [n]
        if not bool(joined.any()):
            raise ScoreError(
                f"All {len(joined)} scores of {len(scores)} sites are zero, so nothing tells their weights apart.",
                "Choose other targets, or check that safe and unsafe samples differ.",
            )
        chosen = top(joined, count_of(self.options.fraction, len(joined)))
        parts = torch.split(chosen, [values.numel() for values in scores.values()])
        return {site: part.view(scores[site].shape) for site, part in zip(scores, parts, strict=True)}
