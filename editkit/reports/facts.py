"""What a report says of itself: its title, and of each metric which way is better, what it is about, where it is told.

Reports from before these facts were kept are read with those of editkit's own metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from editkit.components.metric import ClipBenchmarkMetric, HubMetric, Metric, describe_metrics, with_headline
from editkit.reports.metric_schema import MetricFacts
from editkit.reports.metrics import BUILT_IN
from editkit.reports.schema import Difference, Report, Row

LEVEL = 0.05
"""A change with a smaller p is measurable; intervals are of 95 %."""
ENOUGH = 5
"""The fewest items of which a change can have a smaller p: all five gained, or lost, have 2^-5."""
MANY = 5
"""More metrics than so many are not listed one by one."""
Facts = Mapping[str, Metric]
"""By metric, in the order in which changes are told."""


def facts_of(report: Report, whole: Report | None = None) -> dict[str, Metric]:
    """Return the facts of every metric that a row or a chance level has.

    Args:
        whole: the report that this one is a part of, which knows them.
    """
    names = [metric for row in (*report["models"], *report["controls"]) for metric in row["metrics"]]
    measured = dict.fromkeys([*names, *(metric for levels in report["chance"].values() for metric in levels)])
    kept = (whole or report).get("metrics")
    if kept is None:
        return with_headline(describe_metrics(BUILT_IN, measured))
    said = {name: _read(name, facts) for name, facts in kept.items() if name in measured}
    return said | describe_metrics((), (name for name in measured if name not in said))


def _read(name: str, facts: MetricFacts) -> Metric:
    """Leave out what a later version has to say."""

    def known(model: type[BaseModel], held: Any) -> Any:
        return held and {key: value for key, value in held.items() if key in model.model_fields}

    parts = {"hub": known(HubMetric, facts.get("hub"))}
    parts["clip_benchmark"] = known(ClipBenchmarkMetric, facts.get("clip_benchmark"))
    return Metric.model_validate({**known(Metric, facts), **parts, "name": name})


def kept_facts(facts: Facts) -> dict[str, MetricFacts]:
    """Return facts as a report keeps them: which way is better, what it is about, and whatever else was said."""

    def kept(one: Metric) -> Any:
        return {"better": one.better, "about": one.about} | one.model_dump(exclude_defaults=True, exclude={"name"})

    return {name: kept(one) for name, one in facts.items()}


def title_of(report: Report) -> str:
    """What tables call the evaluation."""
    return report.get("title", report["evaluation"])


def headline(facts: Facts, row: Row) -> list[str]:
    """The metrics that an edit was made for."""
    return [name for name in row["metrics"] if facts[name].headline and facts[name].about != "knowledge"]


def knowledge(facts: Facts, row: Row) -> list[str]:
    """The metrics of knowledge to tell of: the headlines among them, or all where there is none."""
    found = [name for name in row["metrics"] if facts[name].about == "knowledge"]
    return [name for name in found if facts[name].headline] or found


def compared(facts: Facts, row: Row) -> list[str]:
    """The metrics of the table of changes."""
    main = [name for name, one in facts.items() if (one.headline or one.compared) and name in row["metrics"]]
    return list(dict.fromkeys([*main, *knowledge(facts, row)]))


def safe_inputs(facts: Facts, row: Row) -> list[str]:
    """The metrics of safe inputs, which an edit that was made for unsafe ones may cost."""
    return [name for name in row["metrics"] if facts[name].about == "safe inputs"]


def best_of(rows: Sequence[Row], facts: Metric) -> float:
    """The best value of a metric among rows, all of which have it."""
    values = [row["metrics"][facts.name]["value"] for row in rows]
    return max(values) if facts.better == "more" else min(values)


def with_change(metrics: Sequence[str], model: Row) -> list[str]:
    """Those in which the model was compared with the base."""
    return [metric for metric in metrics if metric in model["difference"]]


def less_is_better(facts: Facts) -> str:
    """Say of which metrics a smaller number is the better one; empty: of none."""
    columns = [one for one in facts.values() if not one.aside]
    less, more = ([one.name for one in columns if one.better == better] for better in ("less", "more"))
    if len(less) <= MANY:
        return f"Less is better: {', '.join(less)}." if less else ""
    return f"Less is better{', but more of ' + ', '.join(more) if more else ''}."


def gain(change: Difference, facts: Metric) -> Difference:
    """Return a change as a gain, which is positive where the model became better."""
    if facts.better == "more":
        return change
    return Difference(value=-change["value"], low=-change["high"], high=-change["low"], p=change["p"])


def primary(facts: Facts, row: Row) -> str:
    """The metric that says whether an edit changed anything: the first headline, or the first of knowledge, or any."""
    names = [name for name in facts if name in row["metrics"]]
    return next(iter([*sorted(headline(facts, row), key=names.index), *knowledge(facts, row), *names]))


def measurable(change: Difference) -> bool:
    """Whether a change is beyond chance: p is below 0.05, corrected for many metrics where this is not the primary one.

    Of reports from before intervals and tests agreed, the interval has to exclude 0 as well.
    """
    return (change["low"] > 0 or change["high"] < 0) and change.get("holm", change["p"]) < LEVEL


def without_controls(report: Report) -> list[Row]:
    """The base, the linear filter where there is one, and the edits: the rows that tables begin with."""
    base, *edits = report["models"]
    return [base, *([report["filter"]["model"]] if "filter" in report else []), *edits]


def controls_of(report: Report, model: Row) -> list[Row]:
    """The controls matched to this model's patch, and those that match no patch in particular."""
    return [row for row in report["controls"] if row["patch"] in (None, model["patch"])]
