"""What is shown of every report alike: changes against the base, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from editkit.components.metric import Metric
from editkit.reports.facts import gain, measurable
from editkit.reports.numbers import change_text, p_text, per_cent, points, rate_text
from editkit.reports.schema import Difference, Omission, Report, Row
from editkit.reports.terminal import Column, print_table


@dataclass(frozen=True)
class Comparison:
    """A line of the table of changes: one metric of a model, of the base and of the model's controls."""

    label: str
    facts: Metric
    base: Row
    model: Row
    controls: Sequence[Row]

    @property
    def metric(self) -> str:
        """Its key in the rows."""
        return self.facts.name

    @property
    def is_whole(self) -> bool:
        """Whether the model and all of its controls were compared by this metric."""
        return all(self.metric in row["difference"] for row in (self.model, *self.controls))

    @property
    def change(self) -> Difference:
        """The model's metric minus the base's."""
        return self.model["difference"][self.metric]


def style_of(row: Row, facts: Metric) -> str:
    """Green or red where the change against the base is measurable: green where the model became better."""
    change = row["difference"].get(facts.name)
    if change is None or not measurable(change):
        return ""
    return "green" if gain(change, facts)["value"] > 0 else "red"


def print_comparisons(console: Console, lines: Sequence[Comparison], *, base_interval: str = "shown") -> None:
    """Print lines that have equally many controls.

    Args:
        base_interval: "hidden" saves the width for long labels.
    """
    if not lines:
        return
    rates = [line.base["metrics"][line.metric] for line in lines]
    told = rate_text if base_interval == "shown" else (lambda rate: per_cent(rate["value"]))
    columns = [
        Column("base", [Text(told(rate)) for rate in rates]),
        Column("then", [Text(per_cent(line.model["metrics"][line.metric]["value"])) for line in lines]),
        Column("change", [Text(change_text(line.change), style_of(line.model, line.facts)) for line in lines]),
        Column("p", [_p(line.change) for line in lines]),
    ]
    if count := len(lines[0].controls):
        spans = [[row["difference"][line.metric]["value"] for row in line.controls] for line in lines]
        spread = [points(min(s)) if len(s) == 1 else f"{points(min(s))} to {points(max(s))}" for s in spans]
        columns.append(Column(f"{count} control{'s' * (count > 1)}", [Text(cell) for cell in spread]))
    print_table(console, [Text(line.label) for line in lines], columns)


def _p(change: Difference) -> Text:
    return Text(p_text(change["p"]) + ("*" if measurable(change) else ""))


def legend(report: Report) -> str:
    """Say what intervals and stars are."""
    return "with 95 % intervals" + ("; * p < 0.05 (Holm)" if "primary" in report else "; * p < 0.05")


def print_notes(console: Console, left_out: Sequence[Omission], warnings: Sequence[str], *, apart: bool = True) -> None:
    """Print what was left out, by reason, after an empty line if it is to stand apart, and the warnings."""
    if left_out:
        if apart:
            console.print()
        reasons = Counter(item["reason"] for item in left_out)
        told = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
        console.print(f"Left out: {len(left_out):,} ({told})", style="dim", markup=False)
    for warning in warnings:
        console.print(f"Warning: {warning}", style="yellow", markup=False)
