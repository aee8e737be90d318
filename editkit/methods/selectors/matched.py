"""As many weights per site as another choice made, by these scores: what makes a control comparable.

k(site) = the other choice's count at the site
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.errors import PatchError, RecipeError
from editkit.methods.selectors.options import MatchedOptions
from editkit.methods.selectors.per_site import require_choice, top


class Matched:
    """Select the highest scores, with the counts of a patch, of another selector, or given by site name."""

    def __init__(self, options: MatchedOptions) -> None:
        self.options = options
        # read now: a wrong path is found when the edit is planned, not after the scoring
        self._given = patch_counts(Path(options.patch)) if options.patch is not None else options.counts or {}

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks [O, I] with exactly the other choice's counts; a site that it left out is left out here.

        Raises:
            RecipeError: the other choice has no count for a site.
            ScoreError: all scores of a site are zero.
        """
        counts = self._counts(context)
        masks = {}
        for site, values in scores.items():
            count = counts.get(site.name)
            if count is None or not 0 <= count <= site.size:
                raise RecipeError(
                    f"The choice to match has {'no' if count is None else count} weights at {site.name}, "
                    f"which has {site.size}.",
                    f"Edit only its sites: --target {' --target '.join(sorted(counts)[:3])} ...",
                )
            if count:
                require_choice(values, site)
            masks[site] = top(values.flatten(), count).view_as(values)
        return masks

    def _counts(self, context: SelectionContext) -> Mapping[str, int]:
        if self.options.selector is None:
            return self._given
        masks = context.other_selectors["matched"].select(context.other_scores["matched"], context)
        return {site.name: int(mask.sum()) for site, mask in masks.items()}


def patch_counts(patch: Path) -> dict[str, int]:
    """Return a patch's selected weights by site name.

    Raises:
        PatchError: there is no readable record.
    """
    try:
        record = json.loads((patch / "record.json").read_text())
        return {site["site"]: site["count"] for site in record["sites"]}
    except (OSError, ValueError, KeyError) as error:
        raise PatchError(
            f"{patch} has no readable record of its sites: {error}.", "Give the folder that `editkit edit` wrote."
        ) from error
