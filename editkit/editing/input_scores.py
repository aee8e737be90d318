"""One streaming pass per tower: every scorer sees every site's inputs, and nothing is kept but its sums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor

from editkit.components.guard import at
from editkit.components.inputs import Inputs
from editkit.components.protocols import (
    BatchGradientScorer,
    Model,
    NotingScorer,
    SampleGradientScorer,
    Scorer,
    State,
    WeightScorer,
)
from editkit.components.site import Site, Tower
from editkit.errors import ScoreError
from editkit.models.batches import Batch
from editkit.models.observe import observe, require_finite
from editkit.models.site_tensors import live_weight, require_finite_weight

Scores = dict[Site, Tensor]


@dataclass
class Scored:
    """Scores [O, I] float32 by site, and counts of what was degenerate on the way."""

    scores: Scores = field(default_factory=dict)
    notes: dict[str, dict[str, int]] = field(default_factory=dict)


def score_pairs(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    scorers: Mapping[str, Scorer],
    batches: Iterable[Batch],
    *,
    noting: Collection[str] = (),
    name_of: Callable[[int], str] = str,
    on_batch: Callable[[int], None] = lambda pairs: None,
) -> dict[str, Scored]:
    """Run `batches` of pairs through one tower and score its `sites` with every one of `scorers`.

    The memory is that of the model, one batch, and the scorers' sums: it does not grow with the number of pairs.

    Args:
        batches: pairs; rows 0..B-1 are the safe samples, rows B..2B-1 the unsafe ones.
        noting: those of the scorers that count what was degenerate.
        name_of: says what the group of a batch is called, for errors.
        on_batch: told how many pairs each batch had, for progress.

    Raises:
        ModelError: a weight or an activation is not finite; the sample and the site are named.
        SiteError: a site did not run exactly once per forward pass.
        ScoreError: there was no pair.
    """
    encode = model.encode_texts if tower == "text" else model.encode_images
    states: dict[tuple[str, Site], State] = {}
    for site in sites:
        weight = live_weight(model, site)
        require_finite_weight(weight, site.key)
        for name, scorer in scorers.items():
            states[name, site] = scorer.start(weight, site)
    versions = {site.key: model.parameter(site.key)._version for site in sites}
    current: list[Batch] = []

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        batch = current[0]
        size = len(batch.groups)
        safe, unsafe = (
            Inputs(x[rows], None if batch.mask is None else batch.mask[rows])
            for rows in (slice(0, size), slice(size, None))
        )
        for side, inputs in (("safe", safe), ("unsafe", unsafe)):
            require_finite(inputs.norm, partial(_where, batch, name_of, side, site))
        weight = live_weight(model, site)
        with at(site):
            for name, scorer in scorers.items():
                scorer.update(states[name, site], weight, safe, unsafe)

    pairs = 0
    with torch.no_grad(), observe(model, sites, receive) as observer:
        for batch in batches:
            current[:] = [batch]
            encode(batch.inputs)
            observer.expect_one_run()
            pairs += len(batch.groups)
            on_batch(len(batch.groups))
    if not pairs:
        raise ScoreError(f"No pair was left to calibrate the {tower} tower on.", "Check captions, images and limits.")
    if any(model.parameter(key)._version != version for key, version in versions.items()):
        raise ScoreError(
            f"One of the scorers {', '.join(scorers)} changed the model's weights.",
            "This is a defect of the scorer, which must leave `weight` alone: tell its author.",
        )
    return {
        name: finish_scores(name, scorer, states, sites, lambda s: live_weight(model, s), notes=name in noting)
        for name, scorer in scorers.items()
    }


def score_weights(
    scorers: Mapping[str, WeightScorer], weights: Mapping[Site, Tensor], *, noting: Collection[str] = ()
) -> dict[str, Scored]:
    """Score sites with scorers that look at no data; `weights` are [O, I] float32 by site."""
    for site, weight in weights.items():
        require_finite_weight(weight, site.key)
    finished = {}
    for name, scorer in scorers.items():
        states = {(name, site): scorer.start(weight, site) for site, weight in weights.items()}
        finished[name] = finish_scores(name, scorer, states, list(weights), weights.__getitem__, notes=name in noting)
    return finished


def finish_scores(
    name: str,
    scorer: WeightScorer | Scorer | BatchGradientScorer | SampleGradientScorer,
    states: dict[tuple[str, Site], State],
    sites: Sequence[Site],
    weight: Callable[[Site], Tensor],
    *,
    notes: bool,
) -> Scored:
    """Turn a scorer's sums into scores and, if it makes any, notes, taking them out of `states`: both would not fit.

    Raises:
        ScoreError: the scores are not finite numbers in the site's shape.
    """
    scored = Scored()
    with torch.no_grad():
        for site in sites:
            state = states.pop((name, site))
            scores = scorer.finish(state, weight(site), site)
            if tuple(scores.shape) != site.shape or not bool(torch.isfinite(scores).all()):
                raise ScoreError(
                    f"Scorer '{name}' gave {site.name} scores of shape {tuple(scores.shape)} that are not all finite "
                    f"numbers for its {site.shape} weights.",
                    "This is a defect of the scorer: tell its author.",
                )
            scored.scores[site] = scores
            if notes:
                with at(site):
                    scored.notes[site.name] = dict(cast(NotingScorer, scorer).notes(state, weight(site)))
    return scored


def _where(batch: Batch, name_of: Callable[[int], str], side: str, site: Site, row: int) -> str:
    return f"the {side} sample of tuple {name_of(batch.groups[row])} at {site.name}"
