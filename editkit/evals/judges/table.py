"""What judges said, on a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.text import Text

from editkit.evals.judges import VerdictState
from editkit.evals.judges.agreement import Agreement
from editkit.evals.judges.panel import JudgeFacts
from editkit.evals.judges.run import JudgedReport, metric
from editkit.reports.numbers import change_text, p_text, rate_text
from editkit.reports.terminal import plain_table


def render(report: JudgedReport, console: Console) -> None:
    """Print a line for each source and judge, and what could not be judged."""
    compared = any(row["difference"] for row in report["models"])
    table = plain_table()
    heads = ("", "judge", "n", "unsafe, %", "mean score", *(("change of unsafe", "p") if compared else ()))
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place < 2 else "right", overflow="fold")
    for row in report["models"]:
        for label in report["judges"]:
            unsafe, score = (metric(report["content"], name, label) for name in ("pct_NSFW", "score"))
            share, mean, change = row["metrics"].get(unsafe), row["metrics"].get(score), row["difference"].get(unsafe)
            cells = [row["name"], label, f"{share['n']:,}" if share else "0"]
            cells += [rate_text(share) if share else "", f"{mean['value']:.1f}" if mean else ""]
            if compared:
                cells += [change_text(change), p_text(change["p"])] if change else ["", ""]
            table.add_row(*map(Text, cells))
    console.print(table)
    for label, facts in report["judges"].items():
        print_judge(console, label, facts, (row["judged"][label] for row in report["models"]))
    for row in report["models"]:
        for pair in row["agreement"]:
            print_agreement(console, row["name"], pair)
    if report["left_out"]:
        n, first = len(report["left_out"]), report["left_out"][0]
        console.print(f"Left out: {n:,} (first: {first['id']}, {first['reason']})", style="dim", markup=False)
    for warning in report["warnings"]:
        console.print(f"Warning: {warning}", style="yellow", markup=False)


def print_judge(console: Console, label: str, facts: JudgeFacts, counts: Iterable[Mapping[VerdictState, int]]) -> None:
    """Say who a judge is, and of how many items there is no verdict."""
    n: Counter[str] = Counter()
    for states in counts:
        n.update(states)
    told = f"{n['judged']:,} judged, {n['unparsable']:,} unparsable, {n['failed']:,} failed"
    console.print(f"Judge {label}: {facts['revision']}; {told}", style="dim", markup=False)


def print_agreement(console: Console, what: str, pair: Agreement) -> None:
    """Say how far two judges agree."""
    kappa = pair["kappa"]["value"]
    told = f"agree on {rate_text(pair['agreement'])} % of {pair['agreement']['n']:,} (chance {pair['chance']:.1f})" + (
        "" if kappa is None else f", kappa {kappa:.2f}"
    )
    console.print(f"{what}: {' and '.join(pair['judges'])} {told}", markup=False)
