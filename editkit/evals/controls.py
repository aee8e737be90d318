"""What chance would have done: each patch's controls, matched by the number of its weights or the norm of its change.

Other weights are weights that the patch does not change; where too few are left, the control says how many it shares.

| a patch that                                        | gets as controls                                            |
|---|---|
| chooses weights                                     | as many others per site, at random and by magnitude         |
| chooses whole units                                 | other units by its own selector, at random and by magnitude |
| asks for other scores or weights to change them     | the same, scaled so that the norm of the change is the same |
| fits whole sites to pairs                           | the fit to other pairs (`refit_controls`), and the next     |
| edits whole sites, or does not say how it was made  | its change, shuffled, and shrinking (`norm_controls`)       |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import TOWERS, Site, Tower
from editkit.components.spec import Spec
from editkit.components.specs import ManipulatorSpec, ScorerSpec, SelectorSpec
from editkit.editing.engine import manipulate, select
from editkit.editing.input_scores import Scored, score_weights
from editkit.editing.plan import Plan, read_weight
from editkit.errors import EditkitError
from editkit.evals.norm_controls import rescaled_sites, whole_controls
from editkit.evals.refit_controls import is_fitted, refit_controls
from editkit.models.site_tensors import weight_of
from editkit.models.variants import Variant
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.progress import Stage, silent, tell
from editkit.recipes.recipe import resolve

SEEDS = (0, 1, 2)
SCORERS: Mapping[str, Mapping[str, Any]] = {
    **{f"random {seed}": {"name": "random", "seed": seed} for seed in SEEDS},
    "magnitude": {"name": "magnitude"},
}
Labelled = list[tuple[str, Mapping[str, Change]]]


@dataclass(frozen=True)
class Redraw:
    """How other weights are chosen, and how they are changed."""

    selector: Literal["matched", "own"]
    manipulator: Literal["own", "norm"]


def kind_of_control(selector: SelectorSpec, manipulator: ManipulatorSpec, *, asks: bool) -> Redraw | None:
    """Return how a tower's weights are redrawn; None: they cannot be, so that its change is shuffled instead.

    Args:
        asks: whether the manipulator wants to know more than weights and masks, which a control does not have.
    """
    if manipulator.acts_on == "sites" or not selector.ranks:
        return None  # there is no choice to redraw
    if manipulator.acts_on == "units" and asks:
        return None  # what replaces a unit goes into the bias, which scaling weights would leave out
    return Redraw("own" if selector.units else "matched", "norm" if asks else "own")


def control_variants(
    patch: Patch, folder: str, adapter: Adapter, files: ModelFiles, host: Host, stage: Stage = silent
) -> list[Variant]:
    """Return the controls of the patch in `folder`: four, less any that would equal the base or cannot shrink as far.

    An edit that was fitted to pairs, and chose no weights, has that fit to other pairs in place of two of them. Where
    its towers have different kinds of controls, the first of one goes with the first of the other, and so on.
    """
    sites = adapter.sites(files)
    parts: list[Labelled] = []
    counted: dict[str, tuple[int, int]] = {}  # by label: weights shared with the patch, and all
    rest = dict(patch.changes)
    for tower in TOWERS:
        plan = _recorded_plan(patch, tower, sites, adapter, files, host)
        redraw = plan and _redraw_of(plan, tower)
        if plan and redraw:
            drawn = [(label, *_redrawn(patch, plan, tower, redraw, label)) for label in SCORERS]
            parts.append([(label, changes) for label, changes, _ in drawn])
            for label, _, (shared, chosen) in drawn:
                before = counted.get(label, (0, 0))
                counted[label] = (before[0] + shared, before[1] + chosen)
            rest = {key: rest[key] for key in rest if not any(key in (site.key, site.bias) for site in plan.sites)}
    if rest:
        transposed = {site.key for site in sites if site.transposed}
        fitted = [] if parts or not is_fitted(patch) else _refitted(patch, files, host, stage)
        seeds = SEEDS[:1] if fitted else SEEDS
        whole = whole_controls(rest.values(), files.checkpoint, seeds=seeds, transposed=transposed)
        parts.append([*fitted, *whole])
    variants = []
    for together in zip(*parts, strict=True):
        made = [(label, changes) for label, changes in together if changes]
        label = " and ".join(dict.fromkeys(label for label, _ in made))
        merged = {key: change for _, changes in made for key, change in changes.items()}
        if merged:
            shared, chosen = counted.get(together[0][0], (0, 0))
            overlap = shared / chosen if chosen else None
            variants.append(Variant(label, merged, patch=folder, is_control=True, overlap=overlap))
    return variants


def _refitted(patch: Patch, files: ModelFiles, host: Host, stage: Stage) -> Labelled:
    try:
        return [*refit_controls(patch, files.source, host, stage)]
    except EditkitError as error:
        tell(stage, f"no controls fitted to other pairs: {error.problem}")
        return []


def _recorded_plan(
    patch: Patch, tower: Tower, all_sites: Sequence[Site], adapter: Adapter, files: ModelFiles, host: Host
) -> Plan | None:
    """How a tower was edited, its own scorer left out; None where the record does not say, or names other sites."""
    recipe, counts = patch.record.get("recipe", {}), _counts(patch)
    sites = tuple(site for site in all_sites if site.tower == tower and site.name in counts)
    if tower not in recipe or not sites or not counts.keys() <= {site.name for site in all_sites}:
        return None
    layer: dict[str, Any] = {"model": files.source, "targets": [site.name for site in sites]}
    for kind in ("selector", "manipulator"):
        layer |= {f"{tower}.{kind}.{option}": value for option, value in recipe[tower][kind].items()}
    layer |= {f"data.{option}": value for option, value in recipe["data"].items()}
    return Plan(resolve([("control", layer)], host), host, adapter, files, tuple(all_sites), sites, None)


def _counts(patch: Patch) -> dict[str, int]:
    """Selected weights by site; 0 where the selector left one out."""
    return {site["site"]: site["count"] for site in patch.record.get("sites", [])}


def _redraw_of(plan: Plan, tower: Tower) -> Redraw | None:
    own, manipulator = plan.recipe.towers[tower], plan.manipulator_spec(tower)
    asks = bool(manipulator.needs or own.manipulator.asks("other_scorers") or own.sources)
    return kind_of_control(cast(SelectorSpec, own.selector.spec), manipulator, asks=asks)


def _redrawn(
    patch: Patch, plan: Plan, tower: Tower, redraw: Redraw, label: str
) -> tuple[dict[str, Change], tuple[int, int]]:
    """The changes of one control at one tower; how many of its weights the patch changes too, and how many it has.

    The one place where the engine is called. The patch's own weights are scored below all others, so that they are
    chosen only where too few others are left.
    """
    own = plan.recipe.towers[tower]
    scorer = _choose(plan, ScorerSpec, **SCORERS[label])
    selector = (
        own.selector if redraw.selector == "own" else _choose(plan, SelectorSpec, "matched", counts=_counts(patch))
    )
    towers = {**plan.recipe.towers, tower: replace(own, scorer=scorer, selector=selector)}
    other = replace(plan, recipe=replace(plan.recipe, towers=towers))
    weights = {site: read_weight(other, site).float() for site in other.sites}
    own_masks = {site: _chosen_by(patch, site) for site in other.sites}
    scored = score_weights({"scorer": scorer.build()}, weights)["scorer"]
    last = {site: torch.where(own_masks[site], values.min() - 1, values) for site, values in scored.scores.items()}
    masks = select(other, tower, {"scorer": Scored(last)})
    shared = sum(int((mask & own_masks[site]).sum()) for site, mask in masks.items())
    counts = shared, sum(int(mask.sum()) for mask in masks.values())
    if redraw.manipulator == "norm":
        return rescaled_sites(patch.changes, plan.files.checkpoint, masks), counts
    return {change.key: change for change in manipulate(other, tower, masks)}, counts


def _chosen_by(patch: Patch, site: Site) -> Tensor:
    """[O, I] bool: the weights of a site that a patch changes."""
    change = patch.changes.get(site.key)
    if change is None:
        return torch.zeros(site.shape, dtype=torch.bool)
    moved = np.zeros(change.size, dtype=bool)
    moved[slice(None) if change.index is None else change.index] = change.before != change.after
    return weight_of(torch.from_numpy(moved).view(change.shape), site)


def _choose(plan: Plan, kind: type[Spec], name: str, **options: Any) -> Choice:
    return plan.host.choose(kind, name, options, kind.kind)
