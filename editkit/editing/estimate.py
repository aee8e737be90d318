"""What a plan will take: memory, and passes over the calibration data. Nothing is read."""

from __future__ import annotations

from collections.abc import Sequence

from editkit.components.site import Site, Tower
from editkit.editing.moments import memory_of, preserved_size
from editkit.editing.plan import Plan, needs

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SUMS = {"weights": 1, "inputs": 3, "gradients": 4, "sample-gradients": 5}
"""Float32 matrices [O, I] per site that a scorer holds at its peak: its sums and the finished scores."""


def memory(plan: Plan) -> dict[str, int]:
    """Estimate bytes: the loaded towers, and the scores' sums of the tower that needs most (one at a time)."""
    tensors = plan.files.checkpoint.tensors
    weights = sum(info.stop - info.start for info in tensors.values())
    held = {key for tower in plan.seen_towers for key in plan.adapter.tensors(plan.files, tower).values()}
    model = sum(tensors[key].size for key in held) * BYTES[plan.recipe.compute.dtype]
    sums = {
        tower: sum(
            sum(site.size for site in plan.sites_of(tower)) * 4 * SUMS[needs(choice)]
            for choice in plan.scorers(tower).values()
        )
        for tower in plan.towers
    }
    estimate = {"checkpoint": weights, "model": model, "scores": max(sums.values(), default=0)}
    moments = max((moments_memory(plan, tower) for tower in plan.towers), default=0)
    return estimate | ({"moments": moments} if moments else {})


def groups(plan: Plan, tower: Tower, sites: Sequence[Site]) -> list[list[Site]]:
    """Return the sites in the groups whose statistics are taken together: one pass over the data for each."""
    if not _streams_moments(plan, tower):
        return [list(sites)]
    if plan.is_sequential(tower):
        return [[site] for site in sites]
    found: list[list[Site]] = []
    free = 0
    for site in sites:
        size = _moments_size(plan, site)
        if size > free or not found:  # a site too large for the memory is alone in its group
            found.append([])
            free = int(plan.recipe.compute.memory)
        found[-1].append(site)
        free -= size
    return found


def moments_memory(plan: Plan, tower: Tower) -> int:
    """Return how many bytes the statistics of a tower's largest group of sites take; 0 where there are none."""
    if not _streams_moments(plan, tower):
        return 0
    return max(sum(_moments_size(plan, site) for site in group) for group in groups(plan, tower, plan.sites_of(tower)))


def passes(plan: Plan, tower: Tower) -> int:
    """Return how often the calibration data run through a tower for the moments that its manipulator needs."""
    if not _streams_moments(plan, tower):
        return 0
    return len(groups(plan, tower, plan.sites_of(tower))) * _pairings(plan, tower)


def _streams_moments(plan: Plan, tower: Tower) -> bool:
    return bool(plan.manipulator_needs(tower) & {"mean-inputs", "second-moments"})


def _moments_size(plan: Plan, site: Site) -> int:
    pairs = memory_of(site, second="second-moments" in plan.manipulator_needs(site.tower))
    return pairs * _pairings(plan, site.tower) + preserved_size(site, preserves(plan, site.tower))


def _pairings(plan: Plan, tower: Tower) -> int:
    """Return how many moments of pairs there are of a site: two where unsafe items are also paired anew."""
    return 2 if plan.pairs_anew(tower) else 1


def preserves(plan: Plan, tower: Tower) -> bool:
    """Whether the statistics of a tower's sites include those of preserved items."""
    return "preserved" in plan.manipulator_needs(tower) and bool(plan.preserved.of(tower))
