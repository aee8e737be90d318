"""One door to every format that runs can be exported in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from editkit.files.outputs import new_file, new_folder
from editkit.files.whole_text import json_text
from editkit.reports.clip_benchmark import as_clip_benchmark, file_name
from editkit.reports.model_index import as_model_index
from editkit.reports.read import Stored
from editkit.reports.tables import as_csv, as_latex, as_markdown

Table = Callable[[Sequence[Stored], Sequence[str] | None], str]
TABLES: dict[str, Table] = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}


@dataclass(frozen=True)
class ExportForm:
    """What to write of the runs: `metrics` are the columns of a table, `patch` is the edit that a model card is of."""

    form: str
    metrics: tuple[str, ...] | None = None
    patch: str | None = None


def export_text(runs: Sequence[Stored], choice: ExportForm) -> str:
    """Return runs in a format; CLIP_benchmark's objects are one a line.

    Raises:
        RecordError: the runs do not hold what the format asks for.
    """
    if choice.form == "clip-benchmark":
        return "".join(f"{json_text(entry)}\n" for entry in as_clip_benchmark(runs))
    if choice.form == "model-index":
        return as_model_index(runs, choice.patch)
    return TABLES[choice.form](runs, choice.metrics)


def write_export(runs: Sequence[Stored], choice: ExportForm, output: Path) -> None:
    """Write runs to a new file, or CLIP_benchmark's objects to a new folder, a file each, as its own tools read them.

    Raises:
        OutputError: `output` exists or cannot be written.
        RecordError: the runs do not hold what the format asks for.
    """
    if choice.form == "clip-benchmark":
        entries = as_clip_benchmark(runs)
        with new_folder(output) as folder:
            for entry in entries:
                (folder / file_name(entry)).write_text(json_text(entry), encoding="utf-8")
        return
    text = export_text(runs, choice)
    with new_file(output) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
