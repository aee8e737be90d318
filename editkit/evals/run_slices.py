"""Measure variants of a model on tuples as they come, and on each slice: of these, or of data that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editkit.data.tuples import TupleSet
from editkit.errors import RecipeError, did_you_mean
from editkit.evals.context import EvaluationContext
from editkit.evals.items import slice_set
from editkit.evals.prepared import Prepared
from editkit.evals.report import Measured, build_report
from editkit.evals.run_filter import filter_facts, filter_of
from editkit.evals.run_tuples import EmbeddedTuples, embed, measure_tuples
from editkit.evals.subjects import calibrated_tuples, warn_of_overlap
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts, Omission, Report, SetReport


def measure_slices(
    context: EvaluationContext, prepared: Prepared, asked: str | None, similarities: Path | None, *, with_controls: bool
) -> Report:
    """Return the report of the tuples as they come, with a report of each slice as its `sets`.

    Args:
        asked: the tuples with slices, NAME or NAME:PATH; None: the data's own, or those that the data set names.
        similarities: a new Parquet file of the tuples as they come.

    Raises:
        RecipeError: there are no slices, or none that was asked for.
        EditkitError: the model or data cannot be used.
    """
    data = slice_set(context.recipe, context.tuples, asked, context.host)
    names = [name for name in data.slices if prepared.evaluation.takes(name)]
    if not names:
        wanted = ", ".join(prepared.evaluation.slices)
        raise RecipeError(
            f"No slice of {data.name} is called {wanted}.{did_you_mean(wanted, data.slices)}",
            f"Slices there: {'; '.join(data.slices)}.",
        )
    whole = embed(context, context.tuples)
    tuples = whole if data is context.tuples else embed(context, data)
    fitted = filter_of(context) if prepared.spec.filter and with_controls else None
    [found] = measure_tuples(whole, [prepared], context.variants, similarities, fitted)
    report = build_report(context.name, context.variants, found)
    if fitted is not None:
        report["filter"] = filter_facts(fitted, context.name, context.variants, whole, found, [])
    report["sets"] = []
    for name in names:
        part = part_of(tuples, data, [name], context.digests)
        [found] = measure_tuples(part, [prepared], context.variants, fitted=fitted)
        report["sets"].append(slice_report(context.name, name, context.variants, found))
        if fitted is not None:
            report["sets"][-1]["filter"] = filter_facts(fitted, context.name, context.variants, part, found, [])
    if tuples is not whole:
        report["left_out"] += [Omission(id=f"{data.name}: {one.id}", reason=one.reason) for one in tuples.left_out]
        report["warnings"] += overlap_of_slices(context, data)
    return report


def part_of(tuples: EmbeddedTuples, data: TupleSet, names: Sequence[str], digests: dict[str, str]) -> EmbeddedTuples:
    """Return the tuples of some slices.

    Args:
        data: what was embedded.

    Raises:
        RecipeError: none of their images could be read.
    """
    own, told = [place for place in tuples.kept if tuples.items[place].slice in names], "; ".join(names)
    if not own:
        raise RecipeError(f"No image of slice '{told}' of {data.name} could be read.", "Check the image files.")
    only = replace(data, items=tuple(tuples.items[place] for place in own))
    facts = DataFacts(name=f"{data.name}/{data.split}, {told}", fingerprint=only.fingerprint(digests), n=len(own))
    return replace(tuples, facts=facts, kept=own, left_out=())


def overlap_of_slices(context: EvaluationContext, data: TupleSet) -> list[str]:
    """Say which patches were calibrated on tuples of slices that are no part of the evaluated tuples."""
    overlap = warn_of_overlap(data, context.digests, calibrated_tuples(context.patches))
    return [f"{data.name}: {warning}" for warning in overlap]


def slice_report(evaluation: str, name: str, variants: Sequence[Variant], found: Measured) -> SetReport:
    """Return the report of one slice, without rows by concept."""
    return SetReport(**build_report(evaluation, variants, replace(found, groups=())), key=name, paper="")
