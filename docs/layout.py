"""How the package is laid out, now and at a revision of git: `python docs/layout.py [REVISION]` prints a table.

Every import counts, those inside functions and under TYPE_CHECKING too. A circle is a set of modules each of which
imports every other one, directly or by way of others. Floors are the longest chain of imports, a circle standing on
one floor. Rooms are what stands at the top of the package: folders, and modules that lie in none.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

PACKAGE = "editkit"
ROOT = Path(__file__).parents[1]

Graph = Mapping[str, Set[str]]
"""What each module imports, by dotted name."""


@dataclass(frozen=True)
class Layout:
    """A package's size, and the shape of its imports."""

    at_the_top: int
    folders: int
    lines: Mapping[str, int]
    """Of every module."""
    modules: Graph
    rooms: Graph

    def rows(self) -> dict[str, str]:
        """Return the table's cells by what they say."""
        largest = max(self.lines, key=lambda name: self.lines[name])
        return {
            "modules at the top": str(self.at_the_top),
            "folders": str(self.folders),
            "modules": str(len(self.lines)),
            "lines of a module, median": f"{median(self.lines.values()):g}",
            "lines of the largest": f"{self.lines[largest]} ({largest})",
            "circles of modules": str(len(circles(self.modules))),
            "floors of modules": str(floors(self.modules)),
            "circles of rooms": str(len(circles(self.rooms))),
            "floors of rooms": str(floors(self.rooms)),
        }


def layout_of(folder: Path) -> Layout:
    """Measure the package in `folder`."""
    files = {_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    modules = {name: frozenset(_imports(name, path, files)) - {name} for name, path in files.items()}
    rooms: dict[str, set[str]] = {}
    for name, imported in modules.items():
        rooms.setdefault(_room(name), set()).update({_room(other) for other in imported} - {_room(name)})
    return Layout(
        at_the_top=len([path for path in files.values() if path.parent == folder]),
        folders=len({path.parent for path in files.values()} - {folder}),
        lines={name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in files.items()},
        modules=modules,
        rooms=rooms,
    )


def circles(graph: Graph) -> set[frozenset[str]]:
    """Return the sets of two and more nodes that lead to one another."""
    return {circle for circle in _together(graph).values() if len(circle) > 1}


def floors(graph: Graph) -> int:
    """Return how many nodes the longest chain has, a circle counted as one node."""
    together = _together(graph)

    @cache
    def height(circle: frozenset[str]) -> int:
        below = {together[other] for node in circle for other in graph[node]} - {circle}
        return 1 + max(map(height, below), default=0)

    return max(map(height, together.values()), default=0)


def _together(graph: Graph) -> dict[str, frozenset[str]]:
    """Return, for each node, those that lead to it and that it leads to, itself among them."""
    reached = {node: _reached(node, graph) for node in graph}
    return {node: frozenset({node} | {other for other in reached[node] if node in reached[other]}) for node in graph}


def _reached(node: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    ahead = set(graph[node])
    while ahead:
        found |= ahead
        ahead = {below for other in ahead for below in graph[other]} - found
    return found


def _name(path: Path, folder: Path) -> str:
    """Return a file's dotted name; a folder's own module is named as the folder."""
    parts = path.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that one imports: of `from a import b`, a.b if that is a module, or else a."""
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            asked = (f"{source}.{alias.name}" for alias in node.names)
            yield from {module if module in known else source for module in asked} & known.keys()


def _at(revision: str) -> Layout:
    """Measure the package as it was at a revision."""
    packed = subprocess.run(["git", "-C", ROOT, "archive", revision, PACKAGE], capture_output=True, check=False)
    if packed.returncode:
        sys.exit(packed.stderr.decode().strip())
    with TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
        return layout_of(Path(folder) / PACKAGE)


def table(columns: Mapping[str, Layout]) -> str:
    """Return layouts side by side, as a table of Markdown."""
    cells = {head: layout.rows() for head, layout in columns.items()}
    labels = list(next(iter(cells.values())))
    rows = [["", *cells], *([label, *(column[label] for column in cells.values())] for label in labels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in padded)


def main(arguments: list[str]) -> str:
    """Return the table for the revisions that were asked for, and for the working tree."""
    return table({revision: _at(revision) for revision in arguments} | {"now": layout_of(ROOT / PACKAGE)})


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
