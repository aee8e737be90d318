"""Measure variants of a model on the sets of a zero-shot benchmark: a report of each set, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from editkit.data.zeroshot.sets import ClassSets, NamedSet
from editkit.evals.context import EvaluationContext
from editkit.evals.prepared import Prepared
from editkit.evals.report import Measured, build_report
from editkit.evals.run_classes import measure_classes
from editkit.evals.weighted import weighted_change, weighted_rate
from editkit.files.digests import digest_of
from editkit.models.variants import Variant
from editkit.reports.schema import SCHEMA, DataFacts, Omission, Rate, Report, Row, SetReport


def run_benchmark(context: EvaluationContext, data: ClassSets, prepared: Prepared) -> Report:
    """Measure variants, the first of which is the base, on one set after the other.

    Raises:
        EditkitError: the model or an image cannot be used; sets that were embedded before are in the cache.
    """
    variants, skip = context.variants, context.recipe.skips_bad_items
    measured: list[Measured] = []
    reports: list[SetReport] = []
    for one in data.sets:
        with context.stage(f"{one.facts.title}: {len(one.data.ids):,} images, {len(one.data.classes):,} classes", 0):
            pass  # a note: the encoder's own stages follow, and only one can be open
        found = measure_classes(prepared, one.data, variants, context.encoder, skip_unreadable=skip)
        measured.append(found)
        reports.append(_set_report(context.name, one, variants, found))
    metrics = [metric for metric in _base(reports[0]) if all(metric in _base(report) for report in reports)]
    rows = _mean_rows(metrics, variants, measured)
    facts = DataFacts(
        name=f"{data.name}/{data.profile}",
        fingerprint=digest_of([[report["key"], report["data"]["fingerprint"]] for report in reports]),
        n=sum(report["data"]["n"] for report in reports),
    )
    return Report(
        schema=SCHEMA,
        evaluation=context.name,
        data=facts,
        chance={row: _means([report["chance"][row] for report in reports], metrics) for row in reports[0]["chance"]},
        models=[rows[variant.name] for variant in variants if not variant.is_control],
        controls=[rows[variant.name] for variant in variants if variant.is_control],
        left_out=[
            Omission(id=f"{report['key']}: {item['id']}", reason=item["reason"])
            for report in reports
            for item in report["left_out"]
        ],
        warnings=[warning for report in reports for warning in report["warnings"]],
        profile=data.profile,
        of=data.of,
        sets=reports,
        missing=[Omission(id=item.id, reason=item.reason) for item in data.missing],
    )


def _set_report(name: str, one: NamedSet, variants: Sequence[Variant], measured: Measured) -> SetReport:
    # without rows of 3,000 classes and every model: `--data classes:FILE` says them of one set
    report = build_report(name, variants, replace(measured, groups=()))
    report["warnings"] = [*one.warnings, *report["warnings"]]
    return SetReport(**report, key=one.facts.key, paper=one.facts.paper)


def _base(report: Report) -> Mapping[str, Rate]:
    return report["models"][0]["metrics"]


def _means(values: Sequence[Mapping[str, float]], metrics: Sequence[str]) -> dict[str, float]:
    known = [metric for metric in metrics if all(metric in one for one in values)]
    return {metric: float(np.mean([one[metric] for one in values])) for metric in known}


def _mean_rows(metrics: Sequence[str], variants: Sequence[Variant], measured: Sequence[Measured]) -> dict[str, Row]:
    """Return the mean over sets of each metric, every set weighing the same, by variant.

    The mean over sets is a weighted mean of all their hits, so it has its interval and its test like any other.
    """
    rows = {
        variant.name: Row(name=variant.name, patch=variant.patch, metrics={}, difference={}, by_concept={})
        for variant in variants
    }
    firsts = np.cumsum([0, *(int(one.distinct.max()) + 1 for one in measured)])
    same = np.concatenate([one.distinct + first for one, first in zip(measured, firsts[:-1], strict=True)])
    base = variants[0].name
    for metric in metrics:
        weights = np.concatenate([one.weights_of(metric) / len(measured) for one in measured])
        hits = {
            variant.name: np.concatenate([one.hits[variant.name][metric] for one in measured]) for variant in variants
        }
        for variant, row in rows.items():
            row["metrics"][metric] = weighted_rate(hits[variant], weights, same)
            if variant != base:
                row["difference"][metric] = weighted_change(hits[base], hits[variant], weights, same)
    return rows
