"""Runs chosen by what they measured, and what a list tells of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from editkit.reports.facts import facts_of, knowledge
from editkit.reports.facts import headline as headline_of
from editkit.reports.numbers import change_text, rate_text
from editkit.reports.read import Stored
from editkit.reports.schema import Row


@dataclass(frozen=True)
class Wanted:
    """Which runs to list; None: any. Words are looked for in what they name, whatever the case."""

    evaluation: str | None = None
    model: str | None = None
    """In the source or the digest of the base model."""
    patch: str | None = None
    """In the folder, name or digest of a patch."""
    data: str | None = None
    """In the name or the fingerprint of the data, those measured beside included."""
    since: datetime | None = None
    """A run that does not say when it was written is left out."""

    def admits(self, stored: Stored) -> bool:
        """Whether a run is wanted."""
        report = stored.report
        about = report.get("run")
        models = [about["model"]["source"], about["model"]["identity"]] if about else []
        patches = [word for row in report["models"][1:] for word in (row["name"], row["patch"] or "")]
        patches += [facts["digest"] for facts in about["patches"]] if about else []
        data = [word for facts in (report["data"], *report.get("beside", {}).values()) for word in _words(facts)]
        if self.since is not None and (stored.created is None or stored.created < self.since):
            return False
        return (
            self.evaluation in (None, report["evaluation"])
            and _among(self.model, models)
            and _among(self.patch, patches)
            and _among(self.data, data)
        )


def choose(runs: Iterable[Stored], wanted: Wanted) -> list[Stored]:
    """Return the runs that are wanted, in their order."""
    return [stored for stored in runs if wanted.admits(stored)]


def headline(stored: Stored) -> list[str]:
    """Return the metrics that a run is told by: what its evaluation is for, and what the model still knows."""
    facts, base = facts_of(stored.report), stored.report["models"][0]
    return [*headline_of(facts, base), *knowledge(facts, base)]


def summary(row: Row, metrics: Sequence[str]) -> list[str]:
    """Say a model's metrics with their intervals, and of an edit how they changed."""
    return [
        f"{metric} {rate_text(row['metrics'][metric])}"
        + (f" ({change_text(row['difference'][metric])})" if metric in row["difference"] else "")
        for metric in metrics
        if metric in row["metrics"]
    ]


def as_json(stored: Stored) -> dict[str, Any]:
    """Return what a list tells of a run, as plain data."""
    report = stored.report
    kept = ("created", "evaluation", "data", "beside")
    return {
        "file": str(stored.path),
        **{key: value for key, value in report.items() if key in kept},
        "model": report["run"]["model"]["source"] if "run" in report else None,
        "models": [{key: value for key, value in row.items() if key != "by_concept"} for row in report["models"]],
        "left_out": len(report["left_out"]),
    }


def _words(facts: Any) -> list[str]:
    return [facts["name"], facts["fingerprint"]]


def _among(word: str | None, names: Sequence[str]) -> bool:
    return word is None or any(word.lower() in name.lower() for name in names)
