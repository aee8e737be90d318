"""What selectors share: working site by site, and taking the top k with a fixed answer to ties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from editkit.components.guard import at
from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.errors import ScoreError

SomeOptions = TypeVar("SomeOptions", bound=Options)


def per_site(choose: Callable[[Tensor, SomeOptions], Tensor]) -> type[Any]:
    """Make a selector of `choose(scores [O, I], options) -> bool [O, I]`, which sees one site at a time.

    The selector raises ScoreError, naming the site, if its scores are all zero or not finite.
    """

    class PerSite:
        def __init__(self, options: SomeOptions) -> None:
            self.options = options

        def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
            masks = {}
            for site, values in scores.items():
                require_choice(values, site)
                with at(site):
                    masks[site] = choose(values, self.options)
            return masks

    PerSite.__name__ = PerSite.__qualname__ = choose.__name__
    PerSite.__doc__ = choose.__doc__
    return PerSite


def require_choice(scores: Tensor, site: Site) -> None:
    """Check that the scores tell weights apart at all.

    Raises:
        ScoreError: every score of the site is zero, or one is not finite.
    """
    require_finite(scores, site)
    if not bool(scores.any()):
        raise ScoreError(
            f"All {site.size} scores of {site.name} are zero, so nothing tells its weights apart.",
            "Leave the site out of the targets, or check that safe and unsafe samples differ.",
        )


def require_finite(scores: Tensor, site: Site) -> None:
    """Check that the scores can be ranked; the engine's own always can.

    Raises:
        ScoreError: a score is NaN or infinite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise ScoreError(
            f"Scores of {site.name} are not all finite numbers, so they cannot be ranked.",
            "This is a defect of the scorer: tell its author.",
        )


def top(scores: Tensor, count: int) -> Tensor:
    """[n] scores -> [n] bool: the `count` highest; of equal scores the HIGHER index is taken first."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = torch.topk(scores, count, sorted=False).values.min()
    chosen = scores > threshold
    tied = (scores == threshold).nonzero().flatten()
    chosen[tied[len(tied) - (count - int(chosen.sum())) :]] = True
    return chosen
