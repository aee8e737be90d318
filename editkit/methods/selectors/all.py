"""Every weight of every site, whatever its score: for manipulators that need no choice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.components.spec import NoOptions


class All:
    """Select everything."""

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    def select(self, scores: Mapping[Site, Tensor], context: SelectionContext) -> dict[Site, Tensor]:
        """Return masks of ones, [O, I]."""
        return {site: torch.ones(site.shape, dtype=torch.bool, device=values.device) for site, values in scores.items()}
