"""Keep what an evaluation measured, and tell the observers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from editkit.components.host import Host
from editkit.evals.context import Evaluated
from editkit.reports.elsewhere import note_elsewhere
from editkit.reports.schema import Report
from editkit.reports.store import keep_report, save_report


@dataclass(frozen=True)
class Kept:
    """A report, its file or the folder of the evaluation's own files, and what observers failed at."""

    report: Report = field(repr=False)
    place: Path
    notes: tuple[str, ...] = ()


def keep(evaluated: Evaluated, host: Host, *, output: Path | None, runs: Path) -> Kept:
    """Write a report, unless the evaluation has done so itself, note its place, and tell every observer of it.

    Args:
        output: a new file; None: one below `runs`.

    Raises:
        OutputError: `output` exists, or the place cannot be written; nothing is left behind.
    """
    report, place = evaluated.report, evaluated.folder
    if place is None:
        place = keep_report(report, runs) if output is None else save_report(report, output)
    note_elsewhere(place, runs)
    return Kept(report, place, tuple(host.finished({**report}, place)))
