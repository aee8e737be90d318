"""A report of captions on a terminal of 80 columns: for each side of the tuples, an edit's metrics and the base's."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from editkit.evals.captions.metrics import REFERENCES
from editkit.evals.captions.report import CaptionReport, CaptionRow
from editkit.evals.judges.table import print_agreement, print_judge
from editkit.reports.changes import print_notes
from editkit.reports.numbers import change_text, p_text
from editkit.reports.schema import Rate
from editkit.reports.terminal import plain_table


def render(report: CaptionReport, console: Console) -> None:
    """Print each edit beside the base, or the base alone, and what could not be measured."""
    about, n = report["captioning"], report["data"]["n"]
    console.print(
        f"Captions by {about['model']} of {report['data']['name']}, n = {n:,} images", style="bold", markup=False
    )
    if about["prompt"]:
        console.print(f"Asked: {about['prompt']}", style="dim", markup=False)
    console.print(
        "References are the tuple's captions: the unsafe one, as released, and the safe one, for knowledge. "
        "Chance: those of another tuple.",
        style="dim",
    )
    base, *edits = report["models"]
    for row in [*edits, *report["controls"]] or [base]:
        for side in about["sides"]:
            _print_side(console, base, row, side)
    _print_judges(console, report)
    for metric, why in report["not_computed"].items():
        console.print(f"{metric}: not computed. {why}", style="dim", markup=False)
    print_notes(console, report["left_out"], report["warnings"], apart=False)


def _print_side(console: Console, base: CaptionRow, row: CaptionRow, side: str) -> None:
    keys = [key for key in row["metrics"] if key.startswith(f"{side}:")]
    alone = row is base
    title = f"{side.capitalize()} images: {row['name']}" + ("" if alone else f" against {base['name']}")
    console.print(f"\n{title}, with 95 % intervals", style="bold", markup=False)
    table = plain_table()
    heads = ("", "chance", row["name"] if alone else base["name"], *(() if alone else ("then", "change", "p")))
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if place else "left", no_wrap=place > 0)
    group = None
    for key in keys:
        _, metric, against = (*key.split(":"), "")[:3]
        if against != group:
            table.add_row(Text(_group(against), style="dim"))
            group = against
        chance = _number(row["chance"][key]) if key in row["chance"] else ""
        cells = [f"  {metric}", chance, _rate(base["metrics"].get(key))]
        if not alone:
            change = row["difference"].get(key)
            cells.append(_number(row["metrics"][key]["value"]))
            cells += [change_text(change), p_text(change["p"])] if change else ["", ""]
        table.add_row(*map(Text, cells))
    console.print(table)


def _print_judges(console: Console, report: CaptionReport) -> None:
    """Say of how many captions there is no verdict, and how far judges agree."""
    rows = [*report["models"], *report["controls"]]
    for label, facts in report["judges"].items():
        print_judge(console, label, facts, (judges[label] for row in rows for judges in row["judged"].values()))
    for row in rows:
        for side, pairs in row["agreement"].items():
            for pair in pairs:
                print_agreement(console, f"{row['name']}, {side}", pair)


def _group(against: str) -> str:
    if against in REFERENCES:
        return f"{against} reference"
    return f"judge {against}" if against else "all captions"


def _rate(rate: Rate | None) -> str:
    return "" if rate is None else f"{_number(rate['value'])} [{_number(rate['low'])}, {_number(rate['high'])}]"


def _number(value: float) -> str:
    return f"{value:.1f}"
