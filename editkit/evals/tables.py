"""A report as tables that fit a terminal of 80 columns: rates, changes with intervals, concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from editkit.evals.layout import (
    change_text,
    controls_of,
    is_knowledge,
    knowledge_of,
    layout_of,
    p_text,
    per_cent,
    points,
    present,
    rate_text,
)
from editkit.evals.report import Report, Row, measurable
from editkit.evals.retrieval import DIRECTIONS

_NAME_WIDTH = 12  # "independent" is 11
_CHANCE = {"independent": "independent noise", "collapsed": "collapsed"}


@dataclass(frozen=True)
class _Column:
    """A header of one or two lines and one cell per row."""

    header: str
    cells: list[Text]

    @property
    def width(self) -> int:
        return max([*map(len, self.header.split("\n")), *(cell.cell_len for cell in self.cells)])


def render(report: Report, console: Console, *, by_concept: bool = False, every_metric: bool = False) -> None:
    """Print a report: rates with both chance rows, then each model's changes against the base.

    Args:
        by_concept: also a table of rates by concept.
        every_metric: changes of all metrics, not only of the main ones.
    """
    base, *others = report["models"]
    console.print(_title(report), style="bold")
    _print_blocks(console, _row_names(report), _rate_groups(report))
    main = present((*layout_of(report).changes, *knowledge_of(base)), base)
    metrics = list(base["metrics"]) if every_metric else main
    if not others:
        told = ", ".join(f"{metric} {rate_text(base['metrics'][metric])}" for metric in metrics)
        console.print(f"\n95 % intervals: {told}")
    for model in others:
        console.print(f"\n{model['name']} against {base['name']}, with 95 % intervals", style="bold", markup=False)
        _print_changes(console, report, model, metrics)
    if by_concept:
        _print_concepts(console, report)
    _print_notes(console, report)


def _title(report: Report) -> str:
    layout, n = layout_of(report), report["data"]["n"]
    rates = report["models"][0]["metrics"]
    apart = ", ".join(f"{metric}: {rate['n']:,}" for metric, rate in rates.items() if rate["n"] != n)
    where = f"{layout.title} on {report['data']['name']}, n = {n:,} {layout.items}"
    return f"{where}{f' ({apart})' if apart else ''}, per cent"


def _rows(report: Report) -> list[Row]:
    return [*report["models"], *report["controls"]]


def _chance_rows(report: Report) -> dict[str, dict[str, float]]:
    """Label -> values; one row "chance" where independent noise and collapse score the same."""
    chance = report["chance"]
    if "independent" in chance and chance["independent"] == chance.get("collapsed"):
        return {"chance": chance["independent"]}
    return {_CHANCE.get(name, name): values for name, values in chance.items()}


def _row_names(report: Report) -> list[Text]:
    return [
        *(Text(label, style="dim") for label in _chance_rows(report)),
        *(Text(row["name"], style="bold" if i == 0 else "") for i, row in enumerate(report["models"])),
        *(Text(row["name"], style="italic") for row in report["controls"]),
    ]


def _rate_groups(report: Report) -> list[list[_Column]]:
    """Columns in groups that are kept side by side: by k for retrieval, own metrics and knowledge elsewhere."""
    groups: dict[str, list[_Column]] = {}
    for metric in report["models"][0]["metrics"]:
        name, _, k = metric.partition("@")
        key = k if report["evaluation"] == "retrieval" else str(is_knowledge(metric))
        cells = [Text(per_cent(row[metric]) if metric in row else "-", "dim") for row in _chance_rows(report).values()]
        cells += [Text(per_cent(row["metrics"][metric]["value"]), _style(row, metric)) for row in _rows(report)]
        groups.setdefault(key, []).append(_Column(f"R@{k or 1}\n{name}" if name in DIRECTIONS else metric, cells))
    return list(groups.values())


def _style(row: Row, metric: str) -> str:
    """Green or red where the change against the base is measurable: in every metric more is better."""
    change = row["difference"].get(metric)
    if change is None or not measurable(change):
        return ""
    return "green" if change["value"] > 0 else "red"


def _print_blocks(
    console: Console, names: Sequence[Text], groups: Sequence[Sequence[_Column]], first: Sequence[_Column] = ()
) -> None:
    """Print columns in as few tables as the width allows, a group together where it fits; `first` leads every table."""
    room = console.width - _NAME_WIDTH - _width(first)
    blocks: list[list[_Column]] = [[]]
    for group in groups:
        pieces = [list(group)] if _width(group) <= room else [[column] for column in group]
        for piece in pieces:
            if blocks[-1] and _width([*blocks[-1], *piece]) > room:
                blocks.append([])
            blocks[-1] += piece
    for i, block in enumerate(blocks):
        if i:
            console.print()
        _print_table(console, names, [*first, *block])


def _width(columns: Sequence[_Column]) -> int:
    return sum(1 + column.width for column in columns)


def _print_table(console: Console, names: Sequence[Text], columns: Sequence[_Column]) -> None:
    room = console.width - _width(columns)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, pad_edge=False, header_style="bold")
    table.add_column("", max_width=room, vertical="bottom")
    for column in columns:
        table.add_column(Text(column.header, justify="right"), justify="right", no_wrap=True, min_width=column.width)
    for i, name in enumerate(names):
        table.add_row(_fitted(name, room), *(column.cells[i] for column in columns))
    console.print(table)
    for name in names:
        if _fitted(name, room).plain != name.plain:
            console.print(Text(f"{_fitted(name, room).plain} = {name.plain}", style="dim"))


def _fitted(name: Text, room: int) -> Text:
    """The end of a name that is too long: runs and patches differ at the end. Words may wrap instead."""
    if all(len(word) <= room for word in name.plain.split()):
        return name
    return Text("…" + name.plain[1 - room :], name.style)


def _print_changes(console: Console, report: Report, model: Row, metrics: Sequence[str]) -> None:
    base, controls = report["models"][0]["metrics"], controls_of(report, model)
    changes = [model["difference"][metric] for metric in metrics]
    columns = [
        _Column("base", [Text(rate_text(base[metric])) for metric in metrics]),
        _Column("then", [Text(per_cent(model["metrics"][metric]["value"])) for metric in metrics]),
        _Column("change", [Text(change_text(model["difference"][m]), _style(model, m)) for m in metrics]),
        _Column("p", [Text(p_text(change["p"])) for change in changes]),
    ]
    if controls:
        spans = [[row["difference"][metric]["value"] for row in controls] for metric in metrics]
        spread = [points(min(s)) if len(s) == 1 else f"{points(min(s))} to {points(max(s))}" for s in spans]
        columns.append(_Column(f"{len(controls)} control{'s' * (len(controls) > 1)}", [Text(cell) for cell in spread]))
    _print_table(console, [Text(metric) for metric in metrics], columns)


def _print_concepts(console: Console, report: Report) -> None:
    base = report["models"][0]
    concepts = list(base["by_concept"])
    own = base["by_concept"][concepts[0]]
    metrics = [metric for metric in layout_of(report).changes[:2] if metric in own] or list(own)[:1]
    counts = _Column("n", [Text(f"{base['by_concept'][concept][metrics[0]]['n']:,}") for concept in concepts])
    groups = [
        [
            _Column(
                f"{_fitted(Text(row['name']), 17).plain}\n{metric}",
                [Text(rate_text(row["by_concept"][concept][metric])) for concept in concepts],
            )
            for row in report["models"]
        ]
        for metric in metrics
    ]
    console.print("\nBy concept, with 95 % intervals", style="bold")
    _print_blocks(console, [Text(concept) for concept in concepts], groups, [counts])


def _print_notes(console: Console, report: Report) -> None:
    if report["left_out"]:
        reasons = Counter(item["reason"] for item in report["left_out"])
        told = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
        console.print(f"\nLeft out: {len(report['left_out']):,} ({told})", style="dim", markup=False)
    for warning in report["warnings"]:
        console.print(f"Warning: {warning}", style="yellow", markup=False)
