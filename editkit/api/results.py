"""Find the evaluations that were run, from Python, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from editkit.api.runs import RUNS
from editkit.errors import RecipeError
from editkit.files.paths import user_path
from editkit.reports.elsewhere import listed_elsewhere
from editkit.reports.listing import Wanted, choose
from editkit.reports.read import Stored, Unusable, collect


@dataclass(frozen=True)
class Results:
    """Evaluations that were found: those that are wanted, newest first, and what stood in the way of others."""

    runs: tuple[Stored, ...]
    total: int
    """How many there are, wanted or not."""
    unusable: tuple[Unusable, ...]
    gone: tuple[Path, ...] = ()
    """Reports that were given a place of their own and are not there any more."""


def results(
    *places: str | Path,
    evaluation: str | None = None,
    model: str | None = None,
    patch: str | None = None,
    data: str | None = None,
    since: str | datetime | None = None,
) -> Results:
    """List the evaluations that were run; a file that cannot be used is named, and harms no other.

    Args:
        places: folders with reports, or files; by default `editkit-runs`, and whatever evaluations that were run from
            this folder wrote elsewhere.
        evaluation: only runs of this evaluation.
        model: only runs whose base model's name or digest has this.
        patch: only runs with a patch whose name or digest has this.
        data: only runs whose data's name or fingerprint has this.
        since: only runs since this day or time, such as "2026-01-31".

    Raises:
        EditkitError: a place does not exist, or `since` is not a date.

    Example:
        >>> for stored in results(evaluation="safeground", since="2026-01-31").runs:
        ...     print(stored.path, stored.report["models"][0]["metrics"]["GS"]["value"])
    """
    wanted = Wanted(evaluation, model, patch, data, _time(since))
    elsewhere = [] if places else listed_elsewhere(RUNS)
    folders = [user_path(place) for place in places] or ([RUNS] if RUNS.exists() else [])
    found, unusable = collect([*folders, *(_from_here(place) for place in elsewhere if place.exists())])
    gone = [_from_here(place) for place in elsewhere if not place.exists()]
    return Results(tuple(choose(found, wanted)), len(found), tuple(unusable), tuple(gone))


def _from_here(place: Path) -> Path:
    """Return a path as seen from the current folder, where it lies below that."""
    return place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place


def _time(since: str | datetime | None) -> datetime | None:
    """Read a day or a time; without a zone it is the local one."""
    if since is None:
        return None
    try:
        return (since if isinstance(since, datetime) else datetime.fromisoformat(since)).astimezone()
    except ValueError as error:
        raise RecipeError(f"--since {since} is not a date.", "Write --since 2026-01-31 or 2026-01-31T18:00") from error
