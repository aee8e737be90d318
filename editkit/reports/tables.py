"""Reports as CSV, Markdown and LaTeX: a line for each model, columns in the paper's order, with n and intervals."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from io import StringIO

from editkit.errors import did_you_mean
from editkit.reports.columns import Column, printed
from editkit.reports.lines import Cell, Line, lines_of
from editkit.reports.numbers import per_cent
from editkit.reports.read import RecordError, Stored

NOTE = "In per cent, with 95 % intervals."
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def as_csv(runs: Sequence[Stored], metrics: Sequence[str] | None = None) -> str:
    """Return a row for each line: first all values, then for each metric interval, n, change, p and data.

    Args:
        metrics: the columns, in this order; None: everything that was measured, in the paper's.
    """
    found, lines = lines_of(runs)
    columns = [column.name for column in _chosen(found, metrics)]
    details = ("low", "high", "n", "change", "change_low", "change_high", "p", "data", "fingerprint")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("name", "kind", "model", "patch")
    writer.writerow([*facts, *columns, *(f"{column} {detail}" for column in columns for detail in details)])
    for line in lines:
        held = [line.cells.get(column) for column in columns]
        values = ["" if cell is None else cell.value for cell in held]
        more = [value for cell in held for value in (_details(cell) if cell else [""] * len(details))]
        writer.writerow([line.name, line.kind, line.model, line.patch, *values, *more])
    return text.getvalue()


def as_markdown(runs: Sequence[Stored], metrics: Sequence[str] | None = None) -> str:
    """Return a table with intervals in the cells, and below it what was measured on what.

    Args:
        metrics: the columns, in this order; None: those that a page has room for (`columns.printed`).
    """
    found, lines = lines_of(runs)
    columns = _chosen(found, metrics) if metrics else printed(found)
    rows = [["", *(column.name for column in columns)], ["---", *["---:"] * len(columns)]]
    rows += [[line.name, *(_with_interval(line.cells.get(column.name)) for column in columns)] for line in lines]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return f"{table}\n\n{_caption(columns, lines)}\n"


def as_latex(runs: Sequence[Stored], metrics: Sequence[str] | None = None) -> str:
    """Return a `table*` for booktabs: values, and below each line its intervals in small print; columns as above."""
    found, lines = lines_of(runs)
    columns = _chosen(found, metrics) if metrics else printed(found)
    body: list[str] = []
    for line, before in zip(lines, [None, *lines[:-1]], strict=True):
        if before is not None and line.kind != before.kind:
            body.append(r"\midrule")
        cells = [line.cells.get(column.name) for column in columns]
        body.append(_row([_escaped(line.name), *("--" if cell is None else per_cent(cell.value) for cell in cells)]))
        if any(cell and cell.rate for cell in cells):
            body.append(_row(["", *(rf"{{\tiny {_interval(cell)}}}" if cell and cell.rate else "" for cell in cells)]))
    heads = [column.latex or _escaped(column.name) for column in columns]
    caption = _escaped(_caption(columns, lines))
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            _row(["", *heads]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _chosen(columns: Sequence[Column], metrics: Sequence[str] | None) -> list[Column]:
    """Return the columns that are named; a metric that is measured on several sets names the columns of all of them."""
    known = {column.name: column for column in columns}
    found: dict[str, Column] = {}
    for metric in metrics or known:
        named = [metric] if metric in known else [name for name in known if name.startswith(f"{metric} ")]
        if not named:
            raise RecordError(
                f"No run measured '{metric}'.{did_you_mean(metric, known)}", f"Measured: {', '.join(known)}."
            )
        found |= {name: known[name] for name in named}
    return list(found.values())


def _details(cell: Cell) -> list[object]:
    rate, change = cell.rate, cell.change
    interval = [rate["low"], rate["high"], rate["n"]] if rate else [""] * 3
    moved = [change["value"], change["low"], change["high"], change["p"]] if change else [""] * 4
    return [*interval, *moved, cell.data["name"], cell.data["fingerprint"]]


def _interval(cell: Cell | None) -> str:
    if cell is None or cell.rate is None:
        return ""
    return f"[{per_cent(cell.rate['low'])}, {per_cent(cell.rate['high'])}]"


def _with_interval(cell: Cell | None) -> str:
    return "" if cell is None else f"{per_cent(cell.value)} {_interval(cell)}".strip()


def _caption(columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """Say what the numbers are, and of which a smaller one is the better one."""
    less = [column.name for column in columns if column.better == "less"]
    told = [f"Less is better: {', '.join(less)}."] if less else []
    controls = [line.name for line in lines if line.kind == "control"]
    beside = [f"Controls, other changes of the same size: {', '.join(controls)}."] if controls else []
    return " ".join([NOTE, *told, *_sources([column.name for column in columns], lines), *beside])


def _sources(columns: Sequence[str], lines: Sequence[Line]) -> list[str]:
    """Say which data the metrics come from, and of how many items: most of them first, the others by name."""
    found: dict[str, list[str]] = {}
    for column in columns:
        for cell in (line.cells[column] for line in lines if column in line.cells):
            if cell.rate:
                print_ = f" ({cell.data['fingerprint'][:12]})" if cell.data["fingerprint"] else ""
                metrics = found.setdefault(f"{cell.data['name']}{print_}, n = {cell.rate['n']:,}", [])
                metrics += [column] if column not in metrics else []
    first = max(found, key=lambda where: len(found[where]), default=None)
    others = [f"{', '.join(metrics)}: {where}." for where, metrics in found.items() if where != first]
    return [f"On {first}{', but:' if others else '.'}", *others] if first else []


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _SPECIAL.get(found[0], f"\\{found[0]}"), text)
