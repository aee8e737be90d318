"""Tables on the screen: plain text without rules. Prose wraps; what is there to be copied is never cut or broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from editkit.cli.console import out

UNBOUNDED = 10_000


def number(head: str) -> Column:
    """A column of figures, right-aligned."""
    return Column(head, justify="right", no_wrap=True)


def whole(head: str = "") -> Column:
    """A column of names, paths or commands, each on one line however long."""
    return Column(head, no_wrap=True)


def prose(head: str = "") -> Column:
    """A column of text, which wraps where the screen ends."""
    return Column(head)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, gap: int = 2) -> None:
    """Print rows below the heads of their columns; an empty row is an empty line.

    Args:
        gap: blanks between columns.
    """
    heads = any(column.header for column in columns)
    table = Table(*columns, box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=heads, header_style="dim")
    for row in rows:
        cells = [cell if isinstance(cell, Text) else Text(cell) for cell in row]
        table.add_row(*cells)
        for column, cell in zip(columns, cells, strict=False):
            if column.no_wrap:
                column.min_width = max(column.min_width or 0, cell.cell_len, len(str(column.header)))
    out.print(_Unbroken(table), crop=False)


def figure(value: Any, form: str) -> str:
    """Return a number in a format; a dash for anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return format(value, form) if is_number else "-"


class _Unbroken:
    """A table as wide as it has to be, without blanks at the ends of its lines."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(width=UNBOUNDED), self.table).minimum
        wide = options.update(width=max(options.max_width, needed))
        for line in console.render_lines(self.table, wide, pad=False):
            yield from _trimmed(line)
            yield Segment.line()


def _trimmed(line: Sequence[Segment]) -> list[Segment]:
    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        text, style, control = kept.pop()
        kept.append(Segment(text.rstrip(), style, control))
    return kept
