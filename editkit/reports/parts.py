"""What a report is made of: itself, and the report of each set where it is of a benchmark of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from editkit.reports.paper_columns import is_accuracy
from editkit.reports.schema import DataFacts, Report, Row, SetReport


@dataclass(frozen=True)
class ReportPart:
    """A report of one kind of items; `of` is the report that it is in, which knows the models."""

    report: Report
    of: Report

    @property
    def rows(self) -> list[tuple[str, Row]]:
        """Every row with its kind: "base", "edit" or "control"."""
        base, *edits = self.report["models"]
        controls = [("control", row) for row in self.report["controls"]]
        return [("base", base), *(("edit", row) for row in edits), *controls]

    def data(self, metric: str) -> DataFacts:
        """What a metric was measured on."""
        return self.report.get("beside", {}).get(metric, self.report["data"])

    def column(self, metric: str) -> str:
        """What tables of several reports call a metric: an accuracy says of which images."""
        return f"{metric} {self.data(metric)['name']}" if is_accuracy(metric) else metric


@dataclass(frozen=True)
class SetPart(ReportPart):
    """One set of a benchmark, called by its column in the paper's table."""

    paper: str

    def column(self, metric: str) -> str:
        """The paper's profile is `uwm`: accuracies of another are never in its columns."""
        profile = self.of.get("profile", "uwm")
        name = self.paper if profile == "uwm" else f"{self.paper} ({profile})"
        return name if metric == "top1" else f"{metric} {name}"


@dataclass(frozen=True)
class MeanPart(ReportPart):
    """The mean over the sets of a benchmark."""

    def column(self, metric: str) -> str:
        """A mean over some of the sets is not the mean over all."""
        here, of, profile = len(self.of.get("sets", [])), self.of.get("of"), self.of.get("profile", "uwm")
        name = "Mean" if here == of else f"Mean of {here} sets"
        name = name if profile == "uwm" else f"{name} ({profile})"
        return name if metric == "top1" else f"{metric} {name}"


def parts_of(report: Report) -> Iterator[ReportPart]:
    """Yield the report itself, or its sets and their mean."""
    sets: list[SetReport] = report.get("sets", [])
    for one in sets:
        yield SetPart(one, report, one["paper"])
    yield MeanPart(report, report) if sets else ReportPart(report, report)
