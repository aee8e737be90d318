"""A report of several sets as tables of 80 columns: sets in rows, models in columns.

The mean is the last row of a benchmark, the tuples as they come are the first of slices.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from editkit.components.metric import Metric
from editkit.data.zeroshot.catalogue import UNWANTED
from editkit.reports.changes import Comparison, legend, print_comparisons, print_notes, style_of
from editkit.reports.facts import Facts, controls_of, facts_of, less_is_better, title_of, without_controls
from editkit.reports.numbers import per_cent, rate_text
from editkit.reports.schema import Rate, Report
from editkit.reports.slices import slices_of
from editkit.reports.terminal import Column, print_blocks

_NAME_WIDTH = 16  # "ImageNet-Sketch" is 15
_SLICE_WIDTH = 20  # names of slices wrap between words


def render_sets(report: Report, console: Console, *, every_metric: bool = False) -> None:
    """Print rates by set, then each model's changes against the base.

    Args:
        every_metric: tables of all metrics, not of the headline alone.
    """
    facts, (base, *others) = facts_of(report), report["models"]
    metrics = list(base["metrics"])
    if not every_metric:
        metrics = [metric for metric in metrics if facts[metric].headline] or metrics[:1]
    console.print(_title(report), style="bold", markup=False)
    if less := less_is_better(facts):
        console.print(less, style="dim", markup=False)
    apart = bool(others or slices_of(report))
    if not apart:
        _print_base(console, report, facts)
    for metric in metrics if apart else ():
        console.print(f"\n{_called(facts[metric])}", style="bold", markup=False)
        _print_rates(console, report, facts[metric])
    for model in others:
        for metric in metrics:
            title = f"\n{model['name']} against {base['name']}, {_called(facts[metric])}, {legend(report)}"
            console.print(title, style="bold", markup=False)
            print_comparisons(console, _comparisons(report, model["name"], facts[metric]), base_interval="hidden")
    if "profile" in report:
        _print_missing(console, report)
    print_notes(console, report["left_out"], report["warnings"])


def _title(report: Report) -> str:
    here, n = len(report["sets"]), report["data"]["n"]
    if "profile" in report:
        sets = f"profile {report['profile']}: {here} of {report['of']} sets, n = {n:,} images"
        return f"{title_of(report)}, {sets}, per cent"
    return f"{title_of(report)} on {report['data']['name']}, n = {n:,}, and on {here} slices, per cent"


def _print_missing(console: Console, report: Report) -> None:
    """Say which of the profile's sets were not measured."""
    here, of = len(report["sets"]), report["of"]
    if here < of:
        console.print(f"\nMean over {here} of {of} sets: compare it only with a mean over the same.", style="dim")
    absent = [item["id"] for item in report["missing"] if item["reason"] != UNWANTED]
    if absent:
        console.print(f"Not computed: {', '.join(absent)} (--sets {absent[0]} says why).", style="dim", markup=False)


def _parts(report: Report) -> list[tuple[str, Report]]:
    """Every set's report by its title, and the mean's; or that of the tuples as they come, and every slice's."""
    if slices := slices_of(report):
        return [("as they come", report), *((part["key"], part) for part in slices)]
    return [*((part["data"]["name"], part) for part in report["sets"]), ("Mean", report)]


def _names(report: Report) -> list[Text]:
    return [Text(title, "bold" if part is report else "") for title, part in _parts(report)]


def _facts(report: Report, metric: str) -> list[Column]:
    parts = [part for _, part in _parts(report)]
    chance = [part["chance"].get("independent", {}).get(metric) for part in parts]
    return [
        Column("n", [Text(f"{part['data']['n']:,}", "dim") for part in parts]),
        Column("chance", [Text("-" if value is None else per_cent(value), "dim") for value in chance]),
    ]


def _print_base(console: Console, report: Report, facts: Facts) -> None:
    rates = [part["models"][0]["metrics"] for _, part in _parts(report)]
    metrics = list(rates[-1])
    columns = []
    for metric in metrics:
        # more than two intervals would not fit beside n and chance
        told = rate_text if metric in (metrics[0], metrics[-1]) else _value
        cells = [Text(told(of[metric]) if metric in of else "-") for of in rates]
        columns.append(Column(_called(facts[metric]), cells))
    print_blocks(console, _names(report), [columns], _facts(report, metrics[0]), _width(report))


def _called(facts: Metric) -> str:
    return facts.title or facts.name


def _value(rate: Rate) -> str:
    return per_cent(rate["value"])


def _print_rates(console: Console, report: Report, facts: Metric) -> None:
    metric, sliced = facts.name, bool(slices_of(report))
    # of slices the interval is told, since some are small; what controls do there, the changes say
    told = rate_text if sliced else _value
    rows = [[*without_controls(part), *(() if sliced else part["controls"])] for _, part in _parts(report)]
    columns = [
        Column(of[0]["name"], [Text(told(row["metrics"][metric]), style_of(row, facts)) for row in of])
        for of in zip(*rows, strict=True)
    ]
    print_blocks(console, _names(report), [[column] for column in columns], _facts(report, metric), _width(report))


def _width(report: Report) -> int:
    return _SLICE_WIDTH if slices_of(report) else _NAME_WIDTH


def _comparisons(report: Report, model: str, facts: Metric) -> list[Comparison]:
    lines = []
    for title, part in _parts(report):
        row = next(row for row in part["models"] if row["name"] == model)
        lines.append(Comparison(title, facts, part["models"][0], row, controls_of(part, row)))
    return lines
