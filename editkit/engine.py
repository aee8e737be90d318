"""The engine: plan -> score -> select -> manipulate -> patch. Read this file first.

Nothing here changes a model or a checkpoint: a plan goes in, a patch comes out. Every method is a scorer, a
selector and a manipulator; the towers are edited independently, and text differs from vision by its token mask only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from editkit.bits import to_bits, to_tensor
from editkit.cache import Cache, files_key, key_of, remember
from editkit.calibration import Dropped, pair_batches, usable
from editkit.datasets.tuples import TupleSet
from editkit.errors import ScoreError, SiteError
from editkit.loading import load_model, resolve_device
from editkit.observe import weight_of
from editkit.patch import Change, Patch
from editkit.plan import Plan, needs
from editkit.progress import Stage, silent
from editkit.protocols import ManipulationContext, Model, SelectionContext
from editkit.recipe import Choice
from editkit.record import describe_edit, describe_site
from editkit.scoring import Scored, score_pairs, score_weights
from editkit.site import Site, Tower
from editkit.specs import ScorerSpec

Masks = dict[Site, Tensor]


@dataclass
class Run:
    """A plan being carried out: the model, loaded once and only if something looks at data, and what was noticed."""

    plan: Plan
    stage: Stage
    identity: str
    """Of all the weights: scores are cached under it."""
    device: str
    dropped: dict[str, Dropped] = field(default_factory=dict)
    notes: dict[str, dict[str, int]] = field(default_factory=dict)
    processing: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Of the image files, hashed anew in this run: a cached score must be of these very files."""

    @cached_property
    def model(self) -> Model:
        """The towers that are edited."""
        plan, dtype = self.plan, self.plan.recipe.compute.dtype
        model = load_model(plan.adapter, plan.files, plan.towers, device=self.device, dtype=dtype, stage=self.stage)
        self.processing |= model.processing()
        return model


def make_patch(plan: Plan, stage: Stage = silent) -> Patch:
    """Carry out a plan. The patch exists in memory only; nothing was written and no model changed.

    Raises:
        EditkitError: data, weights, scores or the choice turned out unusable; each says what to do.
    """
    device = resolve_device(plan.recipe.compute.device)
    run = Run(plan, stage, plan.files.checkpoint.identity(), device)
    changes: list[Change] = []
    sites: list[dict[str, Any]] = []
    for tower in plan.towers:
        scored = score(run, tower)
        masks = select(plan, tower, scored)
        main = scored.get(_main_name(plan, tower))
        sites += [
            describe_site(site, masks[site], main.scores[site] if main else None, read_weight(plan, site))
            for site in plan.sites_of(tower)
        ]
        changes += manipulate(plan, tower, masks)
    remember({**run.digests, files_key(plan.files.checkpoint): run.identity})
    return Patch.create(plan.files.checkpoint, changes, describe_edit(run, sites))


def score(run: Run, tower: Tower) -> dict[str, Scored]:
    """Score one tower's sites with its scorer, and with any other scorer its selector asks for.

    Scores depend on weights, calibration data and scorer options only, and are cached under exactly these.
    """
    plan = run.plan
    wanted = _scorers(plan, tower)
    by_weights = {name: choice.build() for name, choice in wanted.items() if needs(choice) == "weights"}
    found: dict[str, Scored] = {}
    if by_weights:
        found |= score_weights(by_weights, {site: read_weight(plan, site).float() for site in plan.sites_of(tower)})
    by_inputs = {name: choice for name, choice in wanted.items() if needs(choice) == "inputs"}
    if by_inputs and plan.data is not None:
        found |= _score_on_data(run, plan.data, tower, by_inputs)
    for scored in found.values():
        run.notes |= scored.notes
    return found


def _score_on_data(run: Run, data: TupleSet, tower: Tower, choices: Mapping[str, Choice]) -> dict[str, Scored]:
    plan = run.plan
    dropped = run.dropped.setdefault(tower, Dropped())
    items = usable(data, tower, dropped)
    cache = Cache("scores", enabled=plan.recipe.compute.cache)
    facts = score_facts(plan, tower, run.identity, data.fingerprint(run.digests))
    keys = {
        (name, site): score_key(facts, choice, site)
        for name, choice in choices.items()
        for site in plan.sites_of(tower)
    }
    entries = {which: cache.load(key) for which, key in keys.items()}
    skip = plan.recipe.skips_bad_items
    known = [entry for entry in entries.values() if entry is not None]
    # scores made while skipping are no answer to a run that stops at an unreadable image
    if len(known) == len(entries) and (skip or not any("unreadable image" in beside["dropped"] for _, beside in known)):
        return _from_cache(run, dropped, entries)
    model = run.model
    batches = pair_batches(
        model, items, tower, plan.recipe.calibration, plan.recipe.compute, dropped, skip_unreadable=skip
    )
    with run.stage(f"scoring {tower}", len(items)) as advance:
        found = score_pairs(
            model,
            tower,
            plan.sites_of(tower),
            {name: choice.build() for name, choice in choices.items()},
            batches,
            name_of=lambda group: f"'{items[group].id}'",
            on_batch=advance,
        )
    for (name, site), key in keys.items():
        beside = {
            "notes": found[name].notes.get(site.name, {}),
            "dropped": dropped.reasons,
            "processing": run.processing,
        }
        cache.save(key, {"scores": found[name].scores[site]}, beside)
    return found


def _from_cache(run: Run, dropped: Dropped, entries: Mapping[tuple[str, Site], Any]) -> dict[str, Scored]:
    found: dict[str, Scored] = {}
    for (name, site), (tensors, beside) in entries.items():
        scored = found.setdefault(name, Scored())
        scored.scores[site] = tensors["scores"]
        scored.notes[site.name] = beside["notes"]
        dropped.reasons = beside["dropped"]
        run.processing |= beside["processing"]
    return found


def score_facts(plan: Plan, tower: Tower, identity: str, fingerprint: str) -> dict[str, Any]:
    """Return what every score of a tower depends on, beside the scorer and the site."""
    return {
        "weights": identity,
        "data": fingerprint,
        "tokens": plan.recipe.calibration.tokens if tower == "text" else "all",
        "settings": plan.files.settings,
        "dtype": plan.recipe.compute.dtype,
    }


def score_key(facts: Mapping[str, Any], choice: Choice, site: Site) -> str:
    """Return the cache key of one site's scores."""
    return key_of({**facts, "scorer": choice.describe(), "target": choice.spec.target, "site": [site.key, site.rows]})


def select(plan: Plan, tower: Tower, scored: Mapping[str, Scored]) -> Masks:
    """Choose weights by their scores; a site with nothing chosen is an error."""
    sites = plan.sites_of(tower)
    main = scored.get(_main_name(plan, tower))
    # without a scorer nothing tells weights apart: zeros that take no memory, which ranking selectors refuse
    scores = main.scores if main else {site: torch.zeros(()).expand(site.shape) for site in sites}
    context = SelectionContext(
        seed=plan.recipe.calibration.seed, other_scores={name: other.scores for name, other in scored.items()}
    )
    masks = dict(plan.recipe.towers[tower].selector.build().select(scores, context))
    for site in sites:
        if site not in masks or not bool(masks[site].any()):
            raise ScoreError(f"No weight of {site.name} was selected.", "Select more, or leave the site out.")
    return {site: masks[site].cpu() for site in sites}


def manipulate(plan: Plan, tower: Tower, masks: Mapping[Site, Tensor]) -> list[Change]:
    """Give the selected weights their new values, in the checkpoint's own dtype, and return what changed."""
    manipulator = plan.recipe.towers[tower].manipulator.build()
    context = ManipulationContext(seed=plan.recipe.calibration.seed)
    checkpoint = plan.files.checkpoint
    edited: dict[str, Tensor] = {}

    def live(key: str) -> Tensor:
        if key not in edited:
            edited[key] = to_tensor(checkpoint.read(key), checkpoint.info(key).dtype, key)
        return edited[key]

    for site, mask in masks.items():
        weight = weight_of(live(site.key), site)
        bias = None if site.bias is None else _rows(live(site.bias), site)
        new = manipulator.apply(site, weight, bias, mask, context)
        if not bool(torch.isfinite(new["weight"]).all()):
            raise SiteError(f"The edit of {site.name} gives values that are not finite.", "Choose a smaller --alpha.")
        if bool((to_bits(new["weight"]) == to_bits(weight)).all()) and "bias" not in new:
            raise SiteError(
                f"The edit leaves every weight of {site.name} as it was.",
                "Choose other weights or another manipulator.",
            )
        weight.copy_(new["weight"])
        if bias is not None and "bias" in new:
            bias.copy_(new["bias"])
    made = (
        Change.between(key, checkpoint.info(key).dtype, checkpoint.read(key), to_bits(tensor))
        for key, tensor in edited.items()
    )
    return [change for change in made if change is not None]


def read_weight(plan: Plan, site: Site) -> Tensor:
    """Return a site's weight [O, I] as the checkpoint stores it."""
    checkpoint = plan.files.checkpoint
    return weight_of(to_tensor(checkpoint.read(site.key), checkpoint.info(site.key).dtype, site.key), site)


def _rows(bias: Tensor, site: Site) -> Tensor:
    return bias if site.rows is None else bias[site.rows[0] : site.rows[1]]


def _main_name(plan: Plan, tower: Tower) -> str:
    choice = plan.scorer(tower)
    return choice.name if choice else ""


def _scorers(plan: Plan, tower: Tower) -> dict[str, Choice]:
    """Return the tower's scorer and those its selector asks for, by name; one pass serves them all."""
    choice = plan.scorer(tower)
    wanted = {choice.name: choice} if choice else {}
    for name in getattr(plan.recipe.towers[tower].selector.build(), "other_scorers", ()):
        spec = plan.host.resolve(ScorerSpec, name)
        wanted.setdefault(name, Choice(name, spec, spec.options()))
    return wanted
