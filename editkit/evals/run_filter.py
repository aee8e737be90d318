"""A linear filter fitted for an evaluation: as a system that hides what it flags, and as a detector beside edits.

An item is detected by the filter if it flags it; by an edit, if the edit moves its embedding further than 99 % of the
safe calibration items of its modality:

    d(x) = 1 - cos(x, x') = |x - x'|^2 / 2        x, x' the unit embeddings before and after the edit

Filter and edits see the same calibration pairs, so each flags about 1 % of safe items like them: that is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from editkit.errors import DataError
from editkit.evals.calibration_pairs import calibration_pairs
from editkit.evals.context import EvaluationContext
from editkit.evals.embeddings import MODALITIES, Bools, Floats, TupleEmbeddings
from editkit.evals.flagged import Distances, flagged, moved
from editkit.evals.linear_filter import FilteredBase, LinearFilter
from editkit.evals.report import Measured, build_report
from editkit.evals.run_tuples import EmbeddedTuples, embed
from editkit.evals.statistics import rate_of
from editkit.files.outputs import first_free
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts, Detection, FilteredEdit, FilterFacts

FEWEST = 10
"""Pairs: of fewer, 99 % of the safe ones is a figure of speech."""


@dataclass(frozen=True)
class FittedFilter(FilteredBase):
    """The base with a filter, and the pairs that it was fitted to."""

    calibration: EmbeddedTuples


def fit_filter(context: EvaluationContext) -> FittedFilter:
    """Fit a filter to the base's embeddings of the calibration pairs, which the edits embed too.

    Raises:
        DataError: there are no calibration pairs, or they cannot be used; `problem` says why.
    """
    edits = [variant for variant in context.variants if not variant.is_control]
    pairs = embed(context, calibration_pairs(context), edits)
    if pairs.facts["n"] < FEWEST:
        raise DataError(f"{pairs.facts['n']} calibration pairs are too few", f"Give at least {FEWEST}.")
    e = pairs.of(edits[0].name)
    filters = {
        modality: LinearFilter.fit(getattr(e, safe), getattr(e, unsafe))
        for modality, (safe, unsafe) in MODALITIES.items()
    }
    name = first_free("linear filter", {variant.name for variant in context.variants}.__contains__)
    return FittedFilter(name, edits[0].name, filters, pairs)


def filter_of(context: EvaluationContext) -> FittedFilter | None:
    """Return the filter that edits are set against, or None: there are no edits, or a note in the report says why."""
    if not context.patches:
        return None
    try:
        return fit_filter(context)
    except DataError as error:
        context.notes.append(f"No linear filter was fitted: {error.problem}")
        return None


def filter_facts(
    fitted: FittedFilter,
    evaluation: str,
    variants: Sequence[Variant],
    tuples: EmbeddedTuples,
    own: Measured,
    beside: Sequence[Measured],
) -> FilterFacts:
    """Return what a report says of the filter, and of the edits among `variants` against it."""
    base, *edits = (variant for variant in variants if variant.is_shown and not variant.is_control)
    measured = build_report(evaluation, [base, Variant(fitted.name, {}, label="linear filter")], own, beside)
    before, calibrated = tuples.of(base.name), fitted.calibration.of(base.name)
    facts = FilterFacts(
        model=measured["models"][1],
        calibration=DataFacts(**fitted.calibration.facts),
        shrinkage={modality: one.shrinkage for modality, one in fitted.filters.items()},
        detection={m: _detection(before, m, one.flags) for m, one in fitted.filters.items()},
        edits=[],
    )
    for edit in edits:
        far = {m: _moved_by(m, before, tuples.of(edit.name)) for m in MODALITIES}
        usual = {m: _moved_by(m, calibrated, fitted.calibration.of(edit.name)) for m in MODALITIES}
        facts["edits"].append(
            FilteredEdit(
                name=edit.name,
                patch=edit.patch,
                difference={
                    metric: one.change(fitted.name, edit.name, metric)
                    for one in (own, *beside)
                    for metric in one.hits[edit.name]
                },
                detection={
                    m: _rates([flagged(distances, usual[m][0]) for distances in far[m]])
                    for m in MODALITIES
                    if any(distances.any() for distances in far[m])
                },
            )
        )
    return facts


def _moved_by(modality: str, before: TupleEmbeddings, after: TupleEmbeddings) -> list[Distances]:
    """How far an edit moves the safe items of a modality, and the unsafe ones."""
    return [moved(getattr(before, side), getattr(after, side)) for side in MODALITIES[modality]]


def _detection(e: TupleEmbeddings, modality: str, flags: Callable[[Floats], Bools]) -> Detection:
    return _rates([flags(getattr(e, side)) for side in MODALITIES[modality]])


def _rates(flagged: Sequence[Bools]) -> Detection:
    """Return the rates of [n] flags of the safe items and [n] of the unsafe ones."""
    safe, unsafe = (rate_of(int(np.count_nonzero(flags)), len(flags)) for flags in flagged)
    return Detection(detected=unsafe, false_positives=safe)
