"""The engine: plan -> score -> select -> manipulate -> patch. Read this file first.

Nothing here changes a model or a checkpoint: a plan goes in, a patch comes out. Every method is a scorer, a
selector and a manipulator; the towers are edited independently, and text differs from vision by its token mask only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext, SelectionContext
from editkit.components.site import Site, Tower
from editkit.editing.context import gather
from editkit.editing.describe import describe_edit, describe_site
from editkit.editing.estimate import groups
from editkit.editing.input_scores import Scored
from editkit.editing.plan import Plan, bring_weights, looks_at, read_weight
from editkit.editing.run import Run
from editkit.editing.score import score
from editkit.errors import ScoreError, SiteError
from editkit.files.bits import to_bits, to_tensor
from editkit.files.remembered import files_key, remember
from editkit.models.compute import resolve_device
from editkit.models.site_tensors import bias_of, weight_of
from editkit.patch.patch import Change, Patch
from editkit.progress import Stage, silent

Masks = dict[Site, Tensor]
ContextFor = Callable[[Sequence[Site], Mapping[str, Tensor]], ManipulationContext]
"""Gives the context for a group of sites, knowing the tensors by key that were edited before it."""


def make_patch(plan: Plan, stage: Stage = silent) -> Patch:
    """Carry out a plan. The patch exists in memory only; nothing was written and no model changed.

    Raises:
        EditkitError: data, weights, scores or the choice turned out unusable; each says what to do.
    """
    plan = bring_weights(plan, stage)
    device = resolve_device(plan.recipe.compute.device)
    run = Run(plan, stage, plan.files.checkpoint.identity(), device)
    changes: list[Change] = []
    sites: list[dict[str, Any]] = []
    for number, tower in enumerate(plan.towers, start=1):
        scored = score(run, tower)
        if not (plan.manipulator_needs(tower) or any(looks_at(plan, later) for later in plan.towers[number:])):
            run.release_model()  # a tower of LLaVA is larger than all that is made of its scores
        masks = select(plan, tower, scored)
        main = scored.get("scorer")
        sites += [
            describe_site(site, masks[site], main.scores[site] if main else None, read_weight(plan, site))
            for site in plan.sites_of(tower)
        ]
        changes += manipulate(plan, tower, masks, partial(gather, run, tower, scored))
    if plan.recipe.compute.cache:
        remember({**run.digests, files_key(plan.files.checkpoint): run.identity})
    return Patch.create(plan.files.checkpoint, changes, describe_edit(run, sites))


def select(plan: Plan, tower: Tower, scored: Mapping[str, Scored]) -> Masks:
    """Choose weights of one tower by their scores; choosing none of them is an error."""
    sites = plan.sites_of(tower)
    main = scored.get("scorer")
    # without a scorer nothing tells weights apart: zeros that take no memory, which ranking selectors refuse
    scores = main.scores if main else {site: torch.zeros(()).expand(site.shape) for site in sites}
    part = plan.recipe.towers[tower]
    selector = part.selector
    context = SelectionContext(
        seed=plan.recipe.calibration.seed,
        other_scores={label: other.scores for label, other in scored.items()},
        other_selectors={label: other.build() for label, other in part.other_selectors.items()},
    )
    masks = dict(selector.build().select(scores, context))
    if lacking := [site for site in sites if site not in masks or not _is_mask(masks[site], site)]:
        raise ScoreError(
            f"Selector '{selector.name}' gave no bool mask of its shape for {lacking[0].name}.",
            "This is a defect of the selector: tell its author.",
        )
    if not any(bool(masks[site].any()) for site in sites):
        raise ScoreError(f"No weight of the {tower} tower was selected.", "Select more, or leave the tower out.")
    return {site: masks[site].cpu() for site in sites}


def _is_mask(mask: Tensor, site: Site) -> bool:
    return tuple(mask.shape) == site.shape and mask.dtype == torch.bool


def plain_context(sites: Sequence[Site], edited: Mapping[str, Tensor]) -> ManipulationContext:
    """Return the context of a manipulator that asks for nothing."""
    return ManipulationContext()


def manipulate(plan: Plan, tower: Tower, masks: Masks, context_for: ContextFor = plain_context) -> list[Change]:
    """Give the selected weights their new values, in the checkpoint's own dtype, and return what changed."""
    manipulator = plan.recipe.towers[tower].manipulator.build()
    checkpoint = plan.files.checkpoint
    edited: dict[str, Tensor] = {}

    def live(key: str) -> Tensor:
        if key not in edited:
            edited[key] = to_tensor(checkpoint.read(key), checkpoint.info(key).dtype, key)
        return edited[key]

    def edit_group(group: Sequence[Site], context: ManipulationContext) -> None:
        for site in group:
            weight = weight_of(live(site.key), site)
            bias = None if site.bias is None else bias_of(live(site.bias), site)
            new = manipulator.apply(site, weight, bias, masks[site], context)
            _replace(site, weight, bias, masks[site], new)

    for group in groups(plan, tower, [site for site in masks if bool(masks[site].any())]):
        edit_group(group, context_for(group, edited))  # no name for the context: its memory is the next group's
    made = (
        Change.between(key, checkpoint.info(key).dtype, checkpoint.read(key), to_bits(tensor))
        for key, tensor in edited.items()
    )
    return [change for change in made if change is not None]


def _replace(site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, new: Mapping[str, Tensor]) -> None:
    """Write a site's new values into the working copies of its tensors.

    Raises:
        SiteError: a value is not finite, or not one bit is new; or the manipulator gave something else than asked for.
    """
    held = {"weight": weight} | ({} if bias is None else {"bias": bias})
    forms = {name: (tensor.shape, tensor.dtype) for name, tensor in held.items()}
    if "weight" not in new or any(forms.get(name) != (tensor.shape, tensor.dtype) for name, tensor in new.items()):
        raise SiteError(
            f"The manipulator gave {site.name} no weight, or tensors of another name, shape or dtype than it has.",
            "This is a defect of the manipulator: tell its author.",
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in new.values()):
        raise SiteError(
            f"The edit of {site.name} gives values that are not finite.",
            "Choose a milder one: a smaller --alpha, a larger manipulator.ridge.",
        )
    moved = torch.from_numpy(to_bits(new["weight"]) != to_bits(weight))  # [O, I]
    if bool((moved & ~mask).any()):
        raise SiteError(
            f"The manipulator changed weights of {site.name} that were not selected.",
            "This is a defect of the manipulator: tell its author.",
        )
    same = all(bool((to_bits(tensor) == to_bits(held[name])).all()) for name, tensor in new.items())
    if same and site.role != "tensor":  # two checkpoints may well share some of their tensors
        raise SiteError(
            f"The edit leaves every weight of {site.name} as it was.", "Choose other weights or another manipulator."
        )
    for name, tensor in new.items():
        held[name].copy_(tensor)
