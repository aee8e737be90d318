"""As many weights per site as another choice made, by these scores: what makes a control comparable.

k(site) = the other choice's count at the site
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from editkit.errors import PatchError, RecipeError
from editkit.options import MatchedOptions
from editkit.plugins import default_host
from editkit.protocols import SelectionContext
from editkit.selectors.per_site import require_choice, top
from editkit.site import Site
from editkit.specs import SelectorSpec


class Matched:
    """Select the highest scores, with the counts of a patch, of another selector, or given by site name."""

    def __init__(self, options: MatchedOptions) -> None:
        self.options = options
        # read now: a wrong path is found when the edit is planned, not after the scoring
        self._given = options.counts if options.patch is None else patch_counts(Path(options.patch))

    @property
    def other_scorers(self) -> tuple[str, ...]:
        """Scorers whose scores the engine must provide in the context, with their default options."""
        return (self.options.scorer,) if self.options.selector else ()

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks [O, I] with exactly the other choice's counts.

        Raises:
            RecipeError: the other choice has no count for a site.
        """
        counts = self._counts(context)
        masks = {}
        for site, values in scores.items():
            require_choice(values, site)
            count = counts.get(site.name, 0)
            if not 0 < count <= site.size:
                raise RecipeError(
                    f"The choice to match has {count} weights at {site.name}, which has {site.size}.",
                    f"Edit only its sites: --target {' --target '.join(sorted(counts)[:3])} ...",
                )
            masks[site] = top(values.flatten(), count).view_as(values)
        return masks

    def _counts(self, context: SelectionContext) -> Mapping[str, int]:
        if self._given is not None:
            return self._given
        assert self.options.selector is not None  # the options' validator saw to it
        spec = default_host().resolve(SelectorSpec, self.options.selector)
        given = {"tau": self.options.tau, "fraction": self.options.fraction}
        selector = spec.load()(spec.options(**{name: value for name, value in given.items() if value is not None}))
        masks = selector.select(context.other_scores[self.options.scorer], context)
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
