"""Export evaluations that were run as tables, for other programs or for a model card, from Python, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from editkit.api.runs import RUNS
from editkit.errors import RecipeError, did_you_mean
from editkit.files.paths import user_path
from editkit.reports.export import TABLES, ExportForm, export_text, write_export
from editkit.reports.forms import Form
from editkit.reports.read import RecordError, Stored, Unusable, collect, find_place


@dataclass(frozen=True)
class Exported:
    """What was exported: text, or the file or folder it was written to; and files that could not be used."""

    text: str | None
    output: Path | None
    unusable: tuple[Unusable, ...]


def export(
    runs: Sequence[str | Path],
    form: str,
    *,
    output: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    patch: str | None = None,
) -> Exported:
    """Export runs: tables in the paper's column order, CLIP_benchmark's JSON, or metadata of a model card.

    Args:
        runs: names of runs, their files, or folders; in this order, where the paper has none.
        form: csv, markdown, latex, clip-benchmark or model-index.
        output: a new file (clip-benchmark: folder); by default the text is only returned.
        metrics: of a table: its columns, in this order.
        patch: of a model index: the edit that the card describes.

    Raises:
        EditkitError: a run cannot be used, does not hold what was asked for, or the output cannot be written.

    Example:
        >>> print(export(["eval-safeground-1a2b3c4d"], "markdown").text)
    """
    choice = _form(form, metrics, patch)
    found, unusable = _read([find_place(str(run), RUNS) for run in runs])
    if not found:
        raise RecordError(
            f"There are no runs in {', '.join(map(str, runs))}.", "`editkit results` lists those there are."
        )
    if output is None:
        return Exported(export_text(found, choice), None, unusable)
    place = user_path(output)
    write_export(found, choice, place)
    return Exported(None, place, unusable)


def _form(form: str, metrics: Sequence[str] | None, patch: str | None) -> ExportForm:
    known = get_args(Form)
    if form not in known:
        raise RecipeError(
            f"There is no format {form}.{did_you_mean(form, known)}", f"Choose one of: {', '.join(known)}."
        )
    if patch is not None and form != "model-index":
        raise RecipeError(f"--patch chooses the model of a card, but --format is {form}.", "Leave it out.")
    if metrics is not None and form not in TABLES:
        raise RecipeError(f"--metrics chooses the columns of a table, but --format is {form}.", "Leave it out.")
    return ExportForm(form, None if metrics is None else tuple(metrics), patch)


def _read(places: Sequence[Path]) -> tuple[list[Stored], tuple[Unusable, ...]]:
    """Return the runs in places, in their order, and the files in folders that cannot be used.

    Raises:
        RecordError: a file cannot be used that was asked for by name: an export without it would not be what was
            asked for.
    """
    found: list[Stored] = []
    unusable: list[Unusable] = []
    for place in places:
        usable, bad = collect([place])
        found += usable
        unusable += bad
    for entry in unusable:
        if entry.path in places:
            raise RecordError(f"{entry.path} {entry.reason}.", "Leave it out, or evaluate again.")
    return found, tuple(unusable)
