"""Measure an evaluation of tuples, and what stands beside it: other evaluations, labelled images, queries."""

from __future__ import annotations

from collections.abc import Sequence

from editkit.components.specs import EvalSpec
from editkit.data.classes import ClassSet
from editkit.data.queries import QuerySet
from editkit.evals.context import EvaluationContext
from editkit.evals.items import knowledge_set, query_set
from editkit.evals.prepared import Prepared, prepare_beside
from editkit.evals.report import build_report
from editkit.evals.request import Request
from editkit.evals.run_classes import measure_classes
from editkit.evals.run_filter import filter_facts, filter_of
from editkit.evals.run_queries import measure_queries
from editkit.evals.run_tuples import embed, measure_tuples
from editkit.evals.subjects import parts_of
from editkit.evals.wrecks import wreck_variants
from editkit.models.variants import Variant
from editkit.reports.schema import Omission, Report


def measure_with_others(
    context: EvaluationContext, asked: Request, own: Prepared, *, with_controls: bool
) -> tuple[Report, dict[str, EvalSpec]]:
    """Return the report, and the evaluations whose metrics stand beside, by metric.

    Raises:
        EditkitError: the model or data cannot be used.
    """
    beside = prepare_beside(own.spec, context.host)
    of_tuples = [one for one in beside if one.spec.data == "tuples"]
    of_classes = [one for one in beside if one.spec.data == "classes"]
    images = knowledge_set(context.recipe, asked.knowledge, context.host) if of_classes else None
    queries = _queries(context, asked, images) if any(one.asks for one in (own, *of_tuples)) else None
    skip, variants = context.recipe.skips_bad_items, _all_variants(context, own, with_controls)
    fitted = filter_of(context) if own.spec.filter and with_controls else None
    tuples = embed(context, context.tuples, variants)
    first, *others = measure_tuples(tuples, [own, *of_tuples], variants, asked.similarities, fitted)
    asking = [
        (one, each)
        for one in (own, *of_tuples)
        if queries is not None and one.asks
        for each in measure_queries(one, queries, tuples, variants, context.encoder, fitted, skip_unreadable=skip)
    ]
    searching = [each for one, each in asking if one is own]
    measured = [*zip(of_tuples, others, strict=True), *((one, each) for one, each in asking if one is not own)]
    if images is not None:
        for one in of_classes:
            labelled = measure_classes(
                one, images, variants, context.encoder, tuples.seen, skip_unreadable=skip, fitted=fitted
            )
            measured.append((one, labelled))
    base = variants[0].name
    specs = {metric: one.spec for one, each in measured for metric in each.hits[base]}
    beside_it = [*searching, *(each for _, each in measured)]
    report = build_report(context.name, variants, first, beside_it)
    if fitted is not None:
        report["filter"] = filter_facts(fitted, context.name, variants, tuples, first, beside_it)
    if queries is not None:
        bad = dict.fromkeys(left for _, each in asking for left in each.left_out)
        report["left_out"] += [Omission(id=f"{queries.name}: {one.id}", reason=one.reason) for one in bad]
    if images is not None:
        bad = dict.fromkeys(left for one, each in measured if one in of_classes for left in each.left_out)
        report["left_out"] += [Omission(id=f"{images.name}: {one.id}", reason=one.reason) for one in bad]
    return report, specs


def _all_variants(context: EvaluationContext, own: Prepared, with_controls: bool) -> Sequence[Variant]:
    """The base, edits and controls; these in either tower alone; and wrecks, where ruin alone can score well."""
    variants = [*context.variants]
    if context.patches and with_controls:
        variants += parts_of(context.variants, context.encoder)
        edits = (variant.name for variant in context.variants[1:] if not variant.is_control)
        named = [(name, patch) for name, (_, patch) in zip(edits, context.patches, strict=True)]
        variants += wreck_variants(named, context.adapter, context.files) if own.spec.wrecks else []
    return variants


def _queries(context: EvaluationContext, asked: Request, images: ClassSet | None) -> QuerySet | None:
    found = query_set(context.recipe, asked.queries, images, context.host)
    if found is None:
        context.notes.append("No queries search the tuples but their own items: --queries queries:FILE names some.")
    elif images is not None and found.name == f"prompts of {images.name}":
        context.notes.append(f"No set of queries is named: the prompts of {images.name} are the neutral queries.")
    return found
