"""Where reports are kept: each in a new file, by default `editkit-runs/eval-<evaluation>-<digest>[-N].json`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from editkit.errors import OutputError
from editkit.numbered import first_free
from editkit.results.schema import Report

RUNS = Path("editkit-runs")
"""Where output goes that no one gave a place, in the current folder."""


def save_report(report: Report, output: Path | None = None) -> Path:
    """Write a report with the time of writing and return the file.

    Args:
        output: a new file; by default one below `RUNS`.

    Raises:
        OutputError: `output` exists, or the place cannot be written; nothing is left behind.
    """
    dated: Report = {**report, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    text = json.dumps(dated, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    digest = digest_of(report)
    while True:
        path = output or free_place(report["evaluation"], digest)
        try:
            with new_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        except FileTaken:
            if output is not None:
                raise
            continue  # another run took the number in between
        return path


def digest_of(report: Mapping[str, object]) -> str:
    """Return eight hex digits of all that a report says but when it was written."""
    said = {key: value for key, value in report.items() if key != "created"}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def free_place(evaluation: str, digest: str) -> Path:
    """Return a file below `RUNS` that does not exist."""
    stem = f"eval-{evaluation.replace('/', '-')}-{digest}"
    return RUNS / first_free(stem, lambda name: os.path.lexists(RUNS / name), ".json")


class FileTaken(OutputError):
    """A file that exists already."""


def check_new_file(path: Path) -> None:
    """Refuse a file that exists, before long work whose result it is to hold.

    Raises:
        OutputError: it exists.
    """
    if os.path.lexists(path):
        raise FileTaken(f"{path} exists already.", "Choose another file; editkit never writes over one.")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary file to write, which becomes `path` when the block ends well; on any error nothing is left.

    Raises:
        OutputError: `path` exists, the disk is full, or the place cannot be written.
    """
    check_new_file(path)
    undo: list[Callable[[], object]] = [parent.rmdir for parent in reversed(path.parents) if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        undo.append(lambda: partial.unlink(missing_ok=True))
        yield partial
        try:
            path.open("xb").close()  # of two that want the name, one gets it
        except FileExistsError:
            check_new_file(path)
        undo.append(path.unlink)
        partial.replace(path)
    except BaseException as error:
        for step in reversed(undo):
            with suppress(OSError):
                step()
        if isinstance(error, OSError):
            raise OutputError(
                f"{path} could not be written: {error}.", "Free space or choose another place."
            ) from error
        raise
