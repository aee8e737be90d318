"""Reports read from files and checked: one that cannot be used is named with what is wrong, and the others go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from editkit.errors import EditkitError, did_you_mean
from editkit.files.paths import start_of, user_path
from editkit.reports.elsewhere import listed_elsewhere
from editkit.reports.schema import SCHEMA, Report, checker

_FAMILY = SCHEMA.partition("/")[0]


class RecordError(EditkitError):
    """A kept result that is missing, damaged or of another version."""


@dataclass(frozen=True)
class Stored:
    """A report and the file it is kept in."""

    path: Path
    report: Report = field(repr=False)

    @property
    def created(self) -> datetime | None:
        """When it was written, where it says so."""
        return datetime.fromisoformat(self.report["created"]) if "created" in self.report else None


@dataclass(frozen=True)
class Unusable:
    """A file that should hold a report, and why it cannot be used."""

    path: Path
    reason: str


def read_report(path: Path) -> Report:
    """Read one report.

    Raises:
        RecordError: no such file, not JSON, no report, another version of the schema, or a wrong or missing member.
    """
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} {_reason(error)}.", "Evaluate again, or take the file away.") from error


def collect(places: Sequence[Path]) -> tuple[list[Stored], list[Unusable]]:
    """Return the reports in files, and in folders with all that is below them, newest first; and what is unusable.

    In a folder, a file counts that names the schema or whose name begins with "eval-": other JSON is not looked at.

    Raises:
        RecordError: a place that does not exist.
    """
    found: list[Stored] = []
    unusable: list[Unusable] = []
    for path, asked in _files(places):
        try:
            content = path.read_bytes()
            if asked or path.name.startswith("eval-") or _FAMILY.encode() in content:
                found.append(Stored(path, _parse(content)))
        except (OSError, ValueError) as error:
            unusable.append(Unusable(path, _reason(error)))
    dated = [stored for stored in found if stored.created]
    dated.sort(key=lambda stored: (stored.created, stored.path.name), reverse=True)
    return dated + [stored for stored in found if not stored.created], unusable


def find_place(name: str, runs: Path) -> Path:
    """Return the file or folder that `name` means: a path, or the name of a run, below `runs` or written elsewhere.

    Raises:
        RecordError: neither exists.
    """
    elsewhere = [place for place in listed_elsewhere(runs) if name in (place.name, place.stem)]
    for path in (user_path(name), runs / name, runs / f"{name}.json", *elsewhere):
        if path.exists():
            return path
    known = sorted({path.stem for path in (*runs.glob("eval-*.json"), *listed_elsewhere(runs))})
    raise RecordError(
        f"There is no run {name}.{did_you_mean(name, known)}",
        "Give a report's file, or its name as `editkit results` lists it.",
    )


def _files(places: Iterable[Path]) -> list[tuple[Path, bool]]:
    """Each file once, and whether it was asked for by name."""
    files: dict[Path, bool] = {}
    for place in places:
        if place.is_dir():
            for path in sorted(place.rglob("*.json")):
                if path.is_file() and not path.name.startswith("."):
                    files.setdefault(path, False)
        elif place.exists():
            files[place] = True
        else:
            raise RecordError(
                f"There is no {place}{start_of(place)}.", "Give a folder with reports, or a report's file."
            )
    return list(files.items())


def _parse(content: bytes) -> Report:
    """Check a file's content; a ValueError says what is wrong with it."""
    try:
        held = json.loads(content)
    except ValueError as error:
        raise ValueError(f"is damaged or no JSON: {' '.join(str(error).split())}") from error
    schema = held.get("schema") if isinstance(held, dict) else None
    if isinstance(schema, str) and schema.startswith(f"{_FAMILY}/") and schema != SCHEMA:
        raise ValueError(f"has the schema {schema}; this editkit reads {SCHEMA}")
    if schema != SCHEMA:
        raise ValueError(f"is no report of an evaluation: its schema is {schema!r}, not '{SCHEMA}'")
    return checker().validate_json(content)


def _reason(error: OSError | ValueError) -> str:
    """Say in one line why a file cannot be used."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if not isinstance(error, ValidationError):
        return str(error)
    first, *others = error.errors(include_url=False)
    where = ".".join(map(str, first["loc"]))
    what = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    more = f" ({len(others)} more)" if others else ""
    return f"does not hold what {SCHEMA} asks for: {where + ' ' if where else ''}{what}{more}"
