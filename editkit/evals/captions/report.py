"""From captions and verdicts to one object: an `editkit.eval/1`, with what only captions have beside it.

All metrics are in per cent, or times 100 as BLEU and CIDEr are written: the paper's ROUGE-L of 0.32 is 32. The keys are
those of `scores.score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from editkit.components.site import Side
from editkit.errors import DataError
from editkit.evals.captions.metrics import ScoredCaptions, Told
from editkit.evals.embeddings import Integers
from editkit.evals.judges import VerdictState
from editkit.evals.judges.agreement import Agreement, agreements
from editkit.evals.judges.panel import JudgeFacts, count_states
from editkit.evals.measures import Measure, change, rate
from editkit.reports.schema import DataFacts, Difference, Omission, Rate, Row


class CaptionRow(Row):
    """One model: a row of `editkit.eval/1` and more."""

    captions: str
    """Its captions file, in the report's folder."""
    chance: dict[str, float]
    """What its captions score against the references of other tuples."""
    judged: dict[Side, dict[str, dict[VerdictState, int]]]
    """By side and judge: how many captions have a verdict, an answer without one, no answer."""
    agreement: dict[Side, list[Agreement]]
    """By side, of every two judges."""


class CaptionReport(TypedDict):
    """The JSON object; the first of `models` is the base, whose chance levels are the `chance` of the report."""

    schema: str
    evaluation: str
    data: DataFacts
    chance: dict[str, dict[str, float]]
    models: list[CaptionRow]
    controls: list[CaptionRow]
    left_out: list[Omission]
    warnings: list[str]
    notes: list[str]
    captioning: dict[str, Any]
    """What the captions depend on, as their files say."""
    judges: dict[str, JudgeFacts]
    not_computed: dict[str, str]
    """Metrics that could not be computed, with what to do about it."""


def build_row(
    name: str,
    patch: str | None,
    captions: str,
    told: Mapping[Side, Told],
    scored: ScoredCaptions,
    base: ScoredCaptions | None,
    seed: int,
) -> tuple[CaptionRow, list[str]]:
    """Return a model's row, and what to warn of.

    Args:
        captions: name of its captions file.
        base: None for the base itself, which has no differences.
    """
    row = CaptionRow(
        name=name,
        patch=patch,
        metrics={},
        difference={},
        by_concept={},
        captions=captions,
        chance=dict(scored.chance),
        judged={},
        agreement={},
    )
    warnings: list[str] = []
    for side, found in scored.sides.items():
        said = told[side]
        row["metrics"] |= _rates(found, None, seed)
        if base is not None:
            row["difference"] |= _changes(base.sides[side], found, seed)
        concepts = np.array(said.concepts, dtype=object)
        for concept in sorted(set(said.concepts)):
            rates = _rates(found, np.flatnonzero(concepts == concept), seed)
            row["by_concept"].setdefault(concept, {}).update(rates)
        row["judged"][side] = {judge: count_states(verdicts) for judge, verdicts in said.verdicts.items()}
        if len(said.verdicts) > 1:
            try:
                row["agreement"][side] = agreements(said.verdicts, seed=seed)
            except DataError as error:  # no reason to lose everything else
                warnings.append(f"{name}, {side} images: {error.problem}")
    return row, warnings


def _rates(found: Mapping[str, Measure], rows: Integers | None, seed: int) -> dict[str, Rate]:
    rates = {key: rate(one, rows, seed=seed) for key, one in found.items()}
    return {key: one for key, one in rates.items() if one is not None}


def _changes(base: Mapping[str, Measure], found: Mapping[str, Measure], seed: int) -> dict[str, Difference]:
    changes = {key: change(base[key], one, seed=seed) for key, one in found.items() if key in base}
    return {key: one for key, one in changes.items() if one is not None}
