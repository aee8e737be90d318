"""Tables of many columns that fit the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NAME_WIDTH = 12  # "independent" is 11


@dataclass(frozen=True)
class Column:
    """A header of one or two lines and one cell per row."""

    header: str
    cells: list[Text]

    @property
    def width(self) -> int:
        return max([*map(len, self.header.split("\n")), *(cell.cell_len for cell in self.cells)])


def print_blocks(
    console: Console,
    names: Sequence[Text],
    groups: Sequence[Sequence[Column]],
    first: Sequence[Column] = (),
    name_width: int = NAME_WIDTH,
) -> None:
    """Print columns in as few tables as the width allows, a group together where it fits; `first` leads every table."""
    room = console.width - name_width - _width(first)
    blocks: list[list[Column]] = [[]]
    for group in groups:
        pieces = [list(group)] if _width(group) <= room else [[column] for column in group]
        for piece in pieces:
            if blocks[-1] and _width([*blocks[-1], *piece]) > room:
                blocks.append([])
            blocks[-1] += piece
    for i, block in enumerate(blocks):
        if i:
            console.print()
        print_table(console, names, [*first, *block])


def _width(columns: Sequence[Column]) -> int:
    return sum(1 + column.width for column in columns)


def print_table(console: Console, names: Sequence[Text], columns: Sequence[Column]) -> None:
    """Print one table; names that are cut short are written out below it."""
    room = console.width - _width(columns)
    table = plain_table(between=0)
    table.add_column("", max_width=room, vertical="bottom")
    for column in columns:
        table.add_column(Text(column.header, justify="right"), justify="right", no_wrap=True, min_width=column.width)
    for i, name in enumerate(names):
        table.add_row(fitted(name, room), *(column.cells[i] for column in columns))
    console.print(table)
    for name in names:
        if fitted(name, room).plain != name.plain:
            console.print(Text(f"{fitted(name, room).plain} = {name.plain}", style="dim"))


def plain_table(between: int = 1) -> Table:
    """Return an empty table that is ruled below its heads alone, with so many blanks to the right of each cell."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, between, 0, 0), pad_edge=False, header_style="bold")


def fitted(name: Text, room: int) -> Text:
    """The end of a name that is too long: runs and patches differ at the end. Words may wrap instead."""
    if all(len(word) <= room for word in name.plain.split()):
        return name
    return Text("…" + name.plain[1 - room :], name.style)
