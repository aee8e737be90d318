"""Several reports as one table: a line for each model, with what every report measured of it.

Reports of the same base and patch are laid together, so that SafeGround, retrieval and zero-shot accuracy stand in one
line as in the paper. They are told apart by the models' tensors and the patches' digests, not by names. A line holds
numbers on one set of tuples; where two reports disagree over a number, each has a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from editkit.reports.columns import SAFETY, Column, beside_safety, in_paper_order
from editkit.reports.parts import ReportPart, parts_of
from editkit.reports.read import Stored
from editkit.reports.schema import DataFacts, Difference, Rate, Row

KINDS = ("chance", "base", "edit", "control")
LONG = 40
CHANCE = {"independent": "independent noise"}


@dataclass(frozen=True)
class Cell:
    """A number of a table, what it was measured on, and, of a model, its interval, n and change against the base."""

    column: Column
    value: float
    data: DataFacts
    rate: Rate | None = None
    change: Difference | None = None

    def agrees(self, other: Cell) -> bool:
        """Whether both are the same number of the same data."""
        return (self.value, self.data) == (other.value, other.data)


@dataclass
class Line:
    """One line: what it is of, and its cells by column."""

    kind: str
    """One of `KINDS`."""
    name: str
    model: str
    patch: str
    digest: str
    """Of the patch."""
    edit: str
    """Of a control: the name of the edit that it is matched to."""
    precision: str
    run: str
    of: tuple[str, ...]
    """What tells it from lines of other models."""
    data: str = ""
    fingerprint: str | None = None
    """Of its tuples; None: it has zero-shot accuracy alone."""
    cells: dict[str, Cell] = field(default_factory=dict)

    def takes(self, other: Line) -> bool:
        """Whether another line is of the same model and data, and agrees wherever both have a number."""
        same = self.of == other.of and other.fingerprint in (None, self.fingerprint)
        shared = self.cells.keys() & other.cells.keys()
        return same and all(self.cells[column].agrees(other.cells[column]) for column in shared)


def lines_of(runs: Sequence[Stored]) -> tuple[list[Column], list[Line]]:
    """Return the columns in the paper's order and the lines: chance, bases, edits, controls."""
    parts = [line for run in runs for line in _lines(run)]
    made: list[Line] = []
    for part in sorted(parts, key=lambda line: line.fingerprint is None):  # accuracy joins lines that are there
        for line in [line for line in made if line.takes(part)] or [_added(made, part)]:
            line.cells = {**line.cells, **part.cells}
    made.sort(key=lambda line: KINDS.index(line.kind))
    _tell_apart(made)
    if any(name in SAFETY for line in made for name in line.cells):
        for line in made:
            line.cells = _by_name(replace(cell, column=beside_safety(cell.column)) for cell in line.cells.values())
    return in_paper_order(cell.column for line in made for cell in line.cells.values()), made


def _added(made: list[Line], line: Line) -> Line:
    made.append(line)
    return line


def _lines(run: Stored) -> list[Line]:
    """Return a report's lines; what it measured on labelled images stands apart from the rest."""
    about = run.report.get("run")
    source = about["model"]["source"] if about else ""
    identity = about["model"]["identity"] if about else str(run.path)
    precision = " ".join(f"{key} {value}" for key, value in sorted(about["precision"].items())) if about else ""
    digests = {facts["patch"]: facts["digest"] for facts in about["patches"]} if about else {}
    names = {row["patch"]: row["name"] for row in run.report["models"]}
    lines: list[Line] = []
    for part in parts_of(run.report):
        for name, values in part.report["chance"].items():
            cells = [Cell(part.column(metric), value, part.data(metric)) for metric, value in values.items()]
            whole = Line("chance", CHANCE.get(name, name), "", "", "", "", "", run.path.stem, (name,))
            lines += _split(whole, cells)
        for kind, row in part.rows:
            patch = row["patch"] or ""
            digest = digests.get(patch, patch)
            name = (source or row["name"]) if kind == "base" else row["name"]
            of = (identity, precision, kind, digest or row["name"], row["name"] if kind == "control" else "")
            edit = names.get(patch, "") if kind == "control" else ""
            whole = Line(kind, name, source, patch, digest, edit, precision, run.path.stem, of)
            lines += _split(whole, _cells(part, row))
    return lines


def _cells(part: ReportPart, row: Row) -> list[Cell]:
    return [
        Cell(part.column(metric), rate["value"], part.data(metric), rate, row["difference"].get(metric))
        for metric, rate in row["metrics"].items()
    ]


def _split(whole: Line, cells: Sequence[Cell]) -> list[Line]:
    """Return a line for tuples and one for labelled images, as far as there are any."""
    lines = []
    for images in (False, True):
        chosen = [cell for cell in cells if cell.column.of_data == images]
        if chosen:
            data = chosen[0].data
            fingerprint = None if images else data["fingerprint"]
            lines.append(replace(whole, data=data["name"], fingerprint=fingerprint, cells=_by_name(chosen)))
    return lines


def _by_name(cells: Iterable[Cell]) -> dict[str, Cell]:
    return {cell.column.name: cell for cell in cells}


def _tell_apart(lines: Sequence[Line]) -> None:
    """Add to names that several lines have what these lines differ in, the plainest first."""
    for detail in (_edit, _model, _data, _patch, _digest, _precision, _run):
        groups: dict[str, list[Line]] = {}
        for line in lines:
            groups.setdefault(line.name, []).append(line)
        for group in groups.values():
            details = [detail(line) for line in group]
            if len(set(details)) > 1:
                for line, said in zip(group, details, strict=True):
                    line.name += f" ({said})" if said else ""


def _edit(line: Line) -> str:
    return f"control of {line.edit}" if line.edit else ""


def _model(line: Line) -> str:
    return _end(line.model)


def _data(line: Line) -> str:
    return _end(line.data)


def _patch(line: Line) -> str:
    return _end(line.patch)


def _digest(line: Line) -> str:
    return f"patch {line.digest[:8]} in {_end(line.run)}" if line.digest else ""


def _precision(line: Line) -> str:
    return line.precision


def _run(line: Line) -> str:
    return _end(line.run)


def _end(text: str) -> str:
    """Return a name, of a long path the end, which is what differs."""
    return text if len(text) <= LONG else f"...{text[-LONG:]}"
