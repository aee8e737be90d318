"""A report as tables that fit a terminal of 80 columns: rates, changes with intervals, concepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from editkit.components.metric import Metric
from editkit.reports.changes import Comparison, legend, print_comparisons, print_notes, style_of
from editkit.reports.detection import print_detection
from editkit.reports.facts import (
    Facts,
    best_of,
    compared,
    controls_of,
    facts_of,
    less_is_better,
    title_of,
    without_controls,
)
from editkit.reports.numbers import per_cent, rate_text
from editkit.reports.schema import Report, Row
from editkit.reports.show_sets import render_sets
from editkit.reports.terminal import Column, fitted, print_blocks

Chance = dict[str, Mapping[str, float]]
"""Values by label, then by metric."""
_CHANCE = {"independent": "independent noise", "collapsed": "collapsed"}


def render(report: Report, console: Console, *, by_concept: bool = False, every_metric: bool = False) -> None:
    """Print a report: rates with both chance rows, then each model's changes against the base.

    Args:
        by_concept: also a table of rates by concept.
        every_metric: changes of all metrics, not only of the main ones.
    """
    if "sets" in report:
        render_sets(report, console, every_metric=every_metric)
        if by_concept:
            _print_concepts(console, report, facts_of(report))
        return
    facts, (base, *others) = facts_of(report), report["models"]
    console.print(_title(report, facts), style="bold", markup=False)
    if less := less_is_better(facts):
        console.print(less, style="dim", markup=False)
    chance = _chance_rows(report, facts)
    print_blocks(console, _row_names(report, chance), _rate_groups(report, facts, chance))
    print_detection(report, console)
    metrics = list(base["metrics"]) if every_metric else compared(facts, base)
    if not others:
        told = ", ".join(f"{metric} {rate_text(base['metrics'][metric])}" for metric in metrics)
        console.print(f"\n95 % intervals: {told}")
    for model in others:
        console.print(f"\n{model['name']} against {base['name']}, {legend(report)}", style="bold", markup=False)
        controls = controls_of(report, model)
        lines = [Comparison(metric, facts[metric], base, model, controls) for metric in metrics]
        print_comparisons(console, [line for line in lines if line.is_whole])
    if by_concept:
        _print_concepts(console, report, facts)
    print_notes(console, report["left_out"], report["warnings"])


def _title(report: Report, facts: Facts) -> str:
    n = report["data"]["n"]
    rates = report["models"][0]["metrics"]
    others: dict[int, list[str]] = {}
    for metric, rate in rates.items():
        if rate["n"] != n and not facts[metric].aside:
            others.setdefault(rate["n"], []).append(metric)
    apart = ", ".join(f"{_shared(metrics)}: {count:,}" for count, metrics in others.items())
    where = f"{title_of(report)} on {report['data']['name']}, n = {n:,} {report.get('items', 'items')}"
    return f"{where}{f' ({apart})' if apart else ''}, per cent"


def _styled(report: Report) -> list[tuple[Row, str]]:
    """The rows of models: base, linear filter, edits, controls, each with the style of its name."""
    rows = [*without_controls(report), *report["controls"]]
    edits, controls = len(report["models"]) - 1, len(report["controls"])
    styles = ["bold", *["italic"] * ("filter" in report), *[""] * edits, *["italic"] * controls]
    return list(zip(rows, styles, strict=True))


def _shared(metrics: Sequence[str]) -> str:
    """Return the words that names begin with alike, or all of the names."""
    words = [name.split(" ") for name in metrics]
    alike = [those[0] for those in zip(*words, strict=False) if len(set(those)) == 1]
    return " ".join(alike) if alike and words[0][: len(alike)] == alike else ", ".join(metrics)


def _rows(report: Report) -> list[Row]:
    return [row for row, _ in _styled(report)]


def _chance_rows(report: Report, facts: Facts) -> Chance:
    """Label -> values; "chance" where independent noise and collapse score the same; and the best that wrecks reach."""
    levels = report["chance"]
    rows: Chance = {_CHANCE.get(name, name): values for name, values in levels.items()}
    if "independent" in levels and levels["independent"] == levels.get("collapsed"):
        rows = {"chance": levels["independent"]}
    if wrecks := report.get("wrecked"):
        rows["best wreck"] = {name: best_of(wrecks, facts[name]) for name in wrecks[0]["metrics"]}
    return rows


def _row_names(report: Report, chance: Iterable[str]) -> list[Text]:
    return [
        *(Text(label, style="dim") for label in chance),
        *(Text(row["name"], style=style) for row, style in _styled(report)),
    ]


def _rate_groups(report: Report, facts: Facts, chance: Chance) -> list[list[Column]]:
    """Columns in groups that are kept side by side."""
    groups: dict[str, list[Column]] = {}
    for metric in report["models"][0]["metrics"]:
        if facts[metric].aside:
            continue
        cells = [Text(per_cent(row[metric]) if metric in row else "-", "dim") for row in chance.values()]
        cells += [_value(row, facts[metric]) for row in _rows(report)]
        groups.setdefault(facts[metric].group, []).append(Column(facts[metric].label or metric, cells))
    return list(groups.values())


def _value(row: Row, facts: Metric) -> Text:
    rate = row["metrics"].get(facts.name)
    return Text("-") if rate is None else Text(per_cent(rate["value"]), style_of(row, facts))


def _print_concepts(console: Console, report: Report, facts: Facts) -> None:
    base = report["models"][0]
    concepts = list(base["by_concept"])
    if not concepts:
        return
    own = base["by_concept"][concepts[0]]
    metrics = [metric for metric in compared(facts, base) if metric in own][:2] or list(own)[:1]
    counts = Column("n", [Text(f"{base['by_concept'][concept][metrics[0]]['n']:,}") for concept in concepts])
    groups = [
        [
            Column(
                f"{fitted(Text(row['name']), 17).plain}\n{metric}",
                [Text(rate_text(row["by_concept"][concept][metric])) for concept in concepts],
            )
            for row in report["models"]
        ]
        for metric in metrics
    ]
    console.print("\nBy concept, with 95 % intervals", style="bold")
    print_blocks(console, [Text(concept) for concept in concepts], groups, [counts])
