"""Whole input columns or output rows of a site, by the mean or the maximum of their scores.

    u[i] = mean or max over o of score[o, i]        axis inputs
    u[o] = mean or max over i of score[o, i]        axis outputs
    k    = n - int((1 - fraction) n), n units

An input column is everything that a unit before the site contributes, an output row all that makes up one after it.
"""

from __future__ import annotations

from torch import Tensor

from editkit.errors import ScoreError
from editkit.methods.selectors.options import UnitsOptions, count_of
from editkit.methods.selectors.per_site import per_site, top


@per_site
def units(scores: Tensor, options: UnitsOptions) -> Tensor:
    """Select exactly k whole units of one site; of equal units the higher index first."""
    pooled_axis = 0 if options.axis == "inputs" else 1
    members = scores.double()  # float64: means decide, and in float32 they would differ between CPU and GPU
    pooled = members.mean(pooled_axis) if options.pool == "mean" else members.amax(pooled_axis)  # [I] or [O]
    if not bool(pooled.any()):
        raise ScoreError(
            f"The {options.pool} of every unit's scores is zero, so nothing tells a site's {options.axis} apart.",
            "Set another selector.pool or selector.axis, or use another scorer.",
        )
    chosen = top(pooled, count_of(options.fraction, len(pooled)))
    return chosen.unsqueeze(pooled_axis).expand_as(scores).contiguous()
