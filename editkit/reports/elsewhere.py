"""Reports that the user gave a place of their own (`-o`): a list of them lies with the runs, one path a line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LIST = "elsewhere.txt"


def note_elsewhere(place: Path, runs: Path) -> None:
    """Add a report, or the folder of one, to the list in `runs`, unless it lies below; a list that fails costs nothing.

    Paths are absolute, so that the list holds if it is read from another folder.
    """
    found = place.expanduser().absolute()
    if found.is_relative_to(runs.absolute()) or found in listed_elsewhere(runs):
        return
    with suppress(OSError):
        runs.mkdir(parents=True, exist_ok=True)
        with (runs / LIST).open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"{found}\n")


def listed_elsewhere(runs: Path) -> list[Path]:
    """Return the listed places, in the order in which they were written, whether they are still there or not."""
    with suppress(OSError):
        text = (runs / LIST).read_text(encoding="utf-8", errors="surrogateescape")
        return [Path(line) for line in dict.fromkeys(text.split("\n")) if line]
    return []
