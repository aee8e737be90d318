"""Scores of one tower, from the cache or from passes over the calibration data: one pass for each kind of need."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from editkit.components.choice import Choice
from editkit.components.site import Site, Tower
from editkit.components.specs import ScorerSpec
from editkit.editing.calibration import UNREADABLE, Dropped, loss_batches, pair_batches, usable
from editkit.editing.gradient_scores import score_batch_gradients, score_sample_gradients
from editkit.editing.input_scores import Scored, score_pairs, score_weights
from editkit.editing.plan import needs, read_weight
from editkit.editing.run import Run
from editkit.models.batches import Unreadable, refuse_unreadable
from editkit.models.compute import Compute

Choices = Mapping[str, Choice]


def score(run: Run, tower: Tower) -> dict[str, Scored]:
    """Score one tower's sites with its scorer ("scorer") and with those its other components ask for, by label."""
    wanted = run.plan.scorers(tower)
    alike = {label: json.dumps(choice.describe(), sort_keys=True) for label, choice in wanted.items()}
    choices = {alike[label]: choice for label, choice in wanted.items()}
    found: dict[str, Scored] = {}
    for need, compute in (("weights", _by_weights), *_PASSES.items()):
        those = {name: choice for name, choice in choices.items() if needs(choice) == need}
        if those:
            found |= compute(run, tower, those) if need == "weights" else _cached(run, tower, those, compute)
    scored = {label: found[name] for label, name in alike.items()}
    if "scorer" in scored:
        run.notes |= scored["scorer"].notes
    return scored


def _by_weights(run: Run, tower: Tower, choices: Choices) -> dict[str, Scored]:
    weights = {site: read_weight(run.plan, site).float() for site in run.plan.sites_of(tower)}
    return score_weights({name: choice.build() for name, choice in choices.items()}, weights, noting=_noting(choices))


def _by_inputs(run: Run, tower: Tower, choices: Choices) -> dict[str, Scored]:
    recipe, dropped = run.plan.recipe, run.dropped.setdefault(tower, Dropped())
    items = usable(run.data, [tower], dropped)
    model, label = run.model, f"scoring {tower}"

    def attempt(compute: Compute) -> dict[str, Scored]:
        skip = recipe.skips_bad_items
        batches = pair_batches(model, items, tower, recipe.calibration, compute, dropped, skip_unreadable=skip)
        with run.stage(label, len(items)) as advance:
            return score_pairs(
                model,
                tower,
                run.plan.sites_of(tower),
                {name: choice.build() for name, choice in choices.items()},
                batches,
                noting=_noting(choices),
                name_of=lambda group: f"'{items[group].id}'",
                on_batch=advance,
            )

    return run.batches.run_smaller(label, len(items), attempt)


def _by_gradients(run: Run, tower: Tower, choices: Choices) -> dict[str, Scored]:
    items, frozen = run.frozen(tower)
    model, label = run.model, f"gradients {tower}"

    def attempt(name: str, compute: Compute) -> Scored:
        scorer = choices[name].build()
        losses = loss_batches(model, items, tower, scorer.loss_batch(tower), compute, _note_unreadable(run, tower))
        with run.stage(label, len(items)) as advance:
            return score_batch_gradients(
                model,
                tower,
                run.plan.sites_of(tower),
                name,
                scorer,
                losses,
                frozen,
                notes=name in _noting(choices),
                on_batch=advance,
            )

    return {name: run.batches.run_smaller(label, len(items), partial(attempt, name)) for name in choices}


def _by_sample_gradients(run: Run, tower: Tower, choices: Choices) -> dict[str, Scored]:
    items, frozen = run.frozen(tower)
    model, label = run.model, f"gradients {tower}"

    def attempt(compute: Compute) -> dict[str, Scored]:
        losses = loss_batches(model, items, tower, None, compute, _note_unreadable(run, tower))
        with run.stage(label, len(items)) as advance:
            return score_sample_gradients(
                model,
                tower,
                run.plan.sites_of(tower),
                {name: choice.build() for name, choice in choices.items()},
                (batch for parts in losses for batch in parts),
                frozen,
                noting=_noting(choices),
                on_batch=advance,
            )

    return run.batches.run_smaller(label, len(items), attempt)


def _noting(choices: Choices) -> set[str]:
    """Return which of the scorers count what was degenerate."""
    return {name for name, choice in choices.items() if cast(ScorerSpec, choice.spec).notes}


_PASSES: dict[str, Callable[[Run, Tower, Choices], dict[str, Scored]]] = {
    "inputs": _by_inputs,
    "gradients": _by_gradients,
    "sample-gradients": _by_sample_gradients,
}


def _note_unreadable(run: Run, tower: Tower) -> Callable[[Unreadable], None]:
    items, _ = run.frozen(tower)

    def note(bad: Unreadable) -> None:
        if not run.plan.recipe.skips_bad_items:
            refuse_unreadable(bad)
        run.dropped[tower].add(UNREADABLE, items[bad.group])

    return note


def _cached(
    run: Run, tower: Tower, choices: Choices, compute: Callable[[Run, Tower, Choices], dict[str, Scored]]
) -> dict[str, Scored]:
    sites = run.plan.sites_of(tower)
    identities = {
        (name, site): identity
        for name, choice in choices.items()
        for site, identity in run.identities.scores(choice, sites).items()
    }
    entries = {which: run.recall("scores", identity) for which, identity in identities.items()}
    if all(entry is not None for entry in entries.values()):
        return _from_cache(run, tower, entries)
    with run.noting(tower) as dropped:
        found = compute(run, tower, choices)
    for (name, site), identity in identities.items():
        notes = {"notes": found[name].notes.get(site.name, {}), "dropped": dropped.reasons}
        run.keep("scores", identity, {"scores": found[name].scores[site]}, notes)
    return found


def _from_cache(run: Run, tower: Tower, entries: Mapping[tuple[str, Site], Any]) -> dict[str, Scored]:
    found: dict[str, Scored] = {}
    for (name, site), (tensors, notes) in entries.items():
        scored = found.setdefault(name, Scored())
        scored.scores[site] = tensors["scores"]
        scored.notes[site.name] = notes["notes"]
        run.notice(tower, notes)
    return found
