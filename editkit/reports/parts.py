"""What a report is made of: itself, and the report of each set of a benchmark or of each slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from editkit.components.metric import Metric
from editkit.reports.columns import ACCURACY, MEAN, Column
from editkit.reports.facts import Facts, facts_of
from editkit.reports.schema import DataFacts, Report, Row, SetReport

PAPERS_PROFILE = "uwm"
"""The profile of the sets in the paper's table: accuracies of another are never in its columns."""


@dataclass(frozen=True)
class ReportPart:
    """A report of one kind of items; `of` is the report that it is in, which knows the models."""

    report: Report
    of: Report
    facts: Facts

    @property
    def rows(self) -> list[tuple[str, Row]]:
        """Every row with its kind: "base", "edit" or "control"."""
        base, *edits = self.report["models"]
        controls = [("control", row) for row in self.report["controls"]]
        return [("base", base), *(("edit", row) for row in edits), *controls]

    def data(self, metric: str) -> DataFacts:
        """What a metric was measured on."""
        return self.report.get("beside", {}).get(metric, self.report["data"])

    def column(self, metric: str) -> Column:
        """The column of a metric in tables of several reports: an accuracy says of which images it is."""
        facts = self.facts[metric]
        if facts.of_data:
            return column_of(facts, f"{metric} {self.data(metric)['name']}", facts.column)
        return replace(column_of(facts, metric, facts.column), latex=facts.latex)


@dataclass(frozen=True)
class SetPart(ReportPart):
    """One set of a benchmark, called by its column in the paper's table."""

    paper: str

    def column(self, metric: str) -> Column:
        """Accuracy stands under the set's name alone."""
        return _of_sets(self.facts[metric], self.paper, self.paper, self.of)


@dataclass(frozen=True)
class MeanPart(ReportPart):
    """The mean over the sets of a benchmark."""

    def column(self, metric: str) -> Column:
        """A mean over some of the sets is not the mean over all."""
        here, of = len(self.of.get("sets", [])), self.of.get("of")
        return _of_sets(self.facts[metric], MEAN if here == of else f"{MEAN} of {here} sets", MEAN, self.of)


def column_of(facts: Metric, name: str, stands_in: str = "") -> Column:
    """Return the column of a metric under a name."""
    return Column(name, stands_in, better=facts.better, headline=facts.headline, of_data=facts.of_data)


def _of_sets(facts: Metric, name: str, place: str, of: Report) -> Column:
    profile = of.get("profile", PAPERS_PROFILE)
    if profile != PAPERS_PROFILE:
        name, place = f"{name} ({profile})", ""
    if facts.column != ACCURACY:
        return column_of(facts, f"{facts.name} {name}")
    return replace(column_of(facts, name, place), headline=False)  # of another profile it is none of the paper's


def parts_of(report: Report) -> Iterator[ReportPart]:
    """Yield the report itself and its slices, or the sets of a benchmark and their mean."""
    sets: list[SetReport] = report.get("sets", [])
    benchmark = bool(sets) and "profile" in report
    for one in sets:
        facts = facts_of(one, report)
        yield SetPart(one, report, facts, one["paper"]) if benchmark else ReportPart(one, report, facts)
    yield (MeanPart if benchmark else ReportPart)(report, report, facts_of(report))
