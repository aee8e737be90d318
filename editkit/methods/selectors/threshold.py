"""Every weight that scores more than a given value, whichever site it is in.

    mask[o, i] = score[o, i] > above

A ratio without prior has a natural cut: `above` 1 selects what matters more on unsafe inputs than on safe ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.errors import ScoreError
from editkit.methods.selectors.options import ThresholdOptions
from editkit.methods.selectors.per_site import require_choice


class Threshold:
    """Select what scores more than `above`; a site where nothing does is left out."""

    def __init__(self, options: ThresholdOptions) -> None:
        self.options = options

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks [O, I].

        Raises:
            ScoreError: a site's scores are all zero, or no score of any site is above the threshold.
        """
        masks = {}
        for site, values in scores.items():
            require_choice(values, site)
            # float64: compared with a float32 score, `above` would be rounded to float32 first
            masks[site] = values.double() > self.options.above
        if not any(bool(mask.any()) for mask in masks.values()):
            highest = max(scores, key=lambda site: float(scores[site].max()))
            raise ScoreError(
                f"No score is above {self.options.above:g}: the highest is {float(scores[highest].max()):g},"
                f" at {highest.name}.",
                "Set a lower selector.above.",
            )
        return masks
