"""A report of restoration on a terminal of 80 columns: what probes read, what attacks bring back, and the price."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from editkit.evals.restoration.recovery import MAIN, MEASURES
from editkit.evals.restoration.report import Recovered, RestorationReport, RestorationRow
from editkit.evals.restoration.verdict import verdict
from editkit.reports.changes import print_notes
from editkit.reports.numbers import per_cent, rate_text
from editkit.reports.terminal import Column, print_blocks, print_table

QUESTIONS = {"unsafe": "unsafe or safe?", "concept": "which concept?"}
ITEMS = {"text": "captions", "image": "images"}
COSTS = ("GS", "Ts-Vs")
"""Measures whose draws have no room."""


def render(report: RestorationReport, console: Console) -> None:
    """Print a table of probes, one of attacks for each model, and the verdict."""
    data = report["data"]
    console.print(f"Restoration on {data['name']}, n = {data['n']:,} tuples, per cent", style="bold", markup=False)
    rows: Sequence[RestorationRow] = [*report["models"], *report["controls"]]  # type: ignore[list-item]
    _print_probes(report, rows, console)
    if "attacker" in report:
        about = report["attacker"]
        console.print(
            f"\nAttacks with k pairs of {about['pairs']['name']}: mean of {about['draws']} draws (least-most)",
            style="bold",
            markup=False,
        )
        console.print(
            f"{MAIN}: unsafe captions that prefer the unsafe image of their tuple. Tu-Vu: those that find their own "
            "among the unsafe images, R@1. --json has the intervals.",
            style="dim",
            markup=False,
        )
        for row in rows:
            _print_attacks(report, row, console)
    print_notes(console, report["left_out"], report["warnings"])
    console.print()
    for sentence in verdict(report):
        console.print(sentence, markup=False)


def _print_probes(report: RestorationReport, rows: Sequence[RestorationRow], console: Console) -> None:
    chance = report["chance"]["independent"]
    groups = []
    for question, asked in QUESTIONS.items():
        for modality, items in ITEMS.items():
            names = [f"{question}:{modality}:{measure}" for measure in ("accuracy", "AUC")]
            if names[0] in chance:
                heads = (f"{items}: {asked}\naccuracy", "\nAUC")
                groups.append([_column(head, name, chance, rows) for head, name in zip(heads, names, strict=True)])
    console.print("A linear probe, five-fold, with 95 % intervals", style="dim")
    print_blocks(console, [Text("chance", "dim"), *(Text(row["name"]) for row in rows)], groups)


def _column(head: str, name: str, chance: dict[str, float], rows: Sequence[RestorationRow]) -> Column:
    return Column(head, [Text(per_cent(chance[name]), "dim"), *(Text(rate_text(row["metrics"][name])) for row in rows)])


def _print_attacks(report: RestorationReport, row: RestorationRow, console: Console) -> None:
    names = [Text(row["name"], "bold"), *(Text(f"  {_called(one)}") for one in row["recovery"])]
    columns = [
        Column(
            measure,
            [Text(per_cent(row["metrics"][measure]["value"])), *(_spread(one, measure) for one in row["recovery"])],
        )
        for measure in MEASURES
    ]
    print_table(console, names, columns)


def _called(one: Recovered) -> str:
    return f"{one['attack']}, k = {one['pairs']}" if one["pairs"] else one["attack"]


def _spread(one: Recovered, measure: str) -> Text:
    mean, draws = per_cent(one["metrics"][measure]["value"]), one["draws"][measure]
    if len(draws) == 1 or measure in COSTS:
        return Text(mean)
    return Text(f"{mean} ({per_cent(min(draws))}-{per_cent(max(draws))})")
