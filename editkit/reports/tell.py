"""A report on a console as its evaluation has it: a table, and what follows from it in sentences."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console

from editkit.components.specs import EvalSpec
from editkit.reports.show import render
from editkit.reports.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from editkit.reports.schema import Report

PAGE = '<pre style="line-height:normal; overflow-x:auto; white-space:pre">{code}</pre>'
WIDE = 110
"""Columns of a notebook's page, which can be scrolled."""


def tell_report(
    report: Report, console: Console, *, spec: EvalSpec, by_concept: bool = False, every_metric: bool = False
) -> None:
    """Print a report.

    Args:
        spec: of its evaluation, which may have a table of its own.
        by_concept: also a table by concept.
        every_metric: changes of all metrics.
    """
    if spec.table:
        spec.load_table()(report, console)
        return
    render(report, console, by_concept=by_concept, every_metric=every_metric)
    console.print()
    for sentence in verdict(report, _taus(report)):
        console.print(sentence)


def _taus(report: Report) -> dict[str, float]:
    """Return the tau of each edit by the name it has in the report, where its method has one."""
    names = {row["patch"]: row["name"] for row in report["models"]}
    found = {}
    for patch in report["run"]["patches"]:
        recipe = patch["recipe"] or {}
        taus = [tau for tower in ("text", "vision") if (tau := recipe.get(tower, {}).get("selector", {}).get("tau"))]
        if taus:
            found[names[patch["patch"]]] = max(taus)
    return found


class ShownReport(dict[str, Any]):
    """A report as plain data, `json.dumps` included, that shows itself as a table in a terminal and in a notebook."""

    def __init__(self, report: Report | dict[str, Any], draw: Callable[[Any, Console], None]) -> None:
        super().__init__(report)
        self._draw = draw

    def __repr__(self) -> str:
        text = StringIO()
        self._draw(self, Console(file=text, highlight=False, markup=False, emoji=False, force_jupyter=False))
        return text.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        console = Console(
            file=StringIO(), highlight=False, markup=False, emoji=False, force_jupyter=False, record=True, width=WIDE
        )
        self._draw(self, console)
        return console.export_html(inline_styles=True, code_format=PAGE)
