"""`editkit results [FOLDER ...]` and `editkit results export RUN ...`: kept evaluations, without importing torch."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from editkit.cli.console import emit_json, err, note, out
from editkit.cli.flags import Json

if TYPE_CHECKING:
    from editkit.reports.read import Stored, Unusable

Format = Literal["csv", "markdown", "latex", "clip-benchmark", "model-index"]


class ListUnlessTold(TyperGroup):
    """`results` with folders or options alone means `results list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front that was left out."""
        known = (*self.commands, "-h", "--help")
        return super().parse_args(ctx, args if args and args[0] in known else ["list", *args])


app = typer.Typer(
    cls=ListUnlessTold,
    help="List the evaluations that were run (`results [FOLDER ...]`), and export them.",
)


@app.command("list")
def list_runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders with reports, or files. [default: editkit-runs]")
    ] = None,
    evaluation: Annotated[str | None, typer.Option(help="Only runs of this evaluation.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs whose base model's name or digest has this.")] = None,
    patch: Annotated[str | None, typer.Option(help="Only runs with a patch whose name or digest has this.")] = None,
    data: Annotated[str | None, typer.Option(help="Only runs whose data's name or fingerprint has this.")] = None,
    since: Annotated[str | None, typer.Option(help="Only runs from this day or time on: 2026-01-31.")] = None,
    json: Json = False,
) -> None:
    """List runs, newest first, with their headline metrics; a file that cannot be used is named on stderr.

    editkit results --evaluation safeground --since 2026-01-31
    """
    from editkit.reports.listing import Wanted, as_json, choose
    from editkit.reports.read import collect
    from editkit.reports.store import RUNS

    wanted = Wanted(evaluation, model, patch, data, _time(since))
    found, unusable = collect(folders or ([RUNS] if RUNS.exists() else []))
    runs = choose(found, wanted)
    if json:
        files = [{"file": str(entry.path), "reason": entry.reason} for entry in unusable]
        emit_json({"runs": [as_json(stored) for stored in runs], "unusable": files})
        return
    for stored in runs:
        _print(stored)
    _name(unusable)
    if not found:
        note("No runs here. `editkit eval safeground` writes one.")
    elif len(runs) < len(found):
        note(f"{len(runs)} of {len(found)} runs.")


@app.command()
def export(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN ...", help="Runs by name, their files, or folders.", show_default=False)
    ],
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A new file; clip-benchmark: folder.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Tables: these columns, in this order: a,b.")] = None,
    patch: Annotated[str | None, typer.Option(help="model-index: the edit that the card is of.")] = None,
) -> None:
    """Export runs: tables in the paper's column order, CLIP_benchmark's JSON, or metadata of a model card.

    editkit results export eval-safeground-1a2b3c4d eval-zeroshot-5e6f7a8b --format latex -o table.tex
    """
    from editkit.errors import RecipeError
    from editkit.reports.export import TABLES, ExportForm, export_text, write_export
    from editkit.reports.read import RecordError, collect, find_place

    if patch is not None and form != "model-index":
        raise RecipeError(f"--patch chooses the model of a card, but --format is {form}.", "Leave it out.")
    if metrics is not None and form not in TABLES:
        raise RecipeError(f"--metrics chooses the columns of a table, but --format is {form}.", "Leave it out.")
    choice = ExportForm(form, tuple(name.strip() for name in metrics.split(",")) if metrics else None, patch)
    places = [find_place(run) for run in runs]
    found: list[Stored] = []
    unusable: list[Unusable] = []
    for place in places:  # in the order asked for, which is that of columns the paper does not have
        usable, bad = collect([place])
        found += usable
        unusable += bad
    for entry in unusable:
        if entry.path in places:  # asked for by name: a table without it would not be what was asked for
            raise RecordError(f"{entry.path} {entry.reason}.", "Leave it out, or evaluate again.")
    _name(unusable)
    if not found:
        raise RecordError(f"There are no runs in {', '.join(runs)}.", "`editkit results` lists those there are.")
    if output is None:
        print(export_text(found, choice), end="")
    else:
        write_export(found, choice, output)
        note(f"Wrote {output}")


def _print(stored: Stored) -> None:
    from editkit.reports.listing import headline, summary

    report, data = stored.report, stored.report["data"]
    when = stored.created.astimezone().strftime("%Y-%m-%d %H:%M") if stored.created else "no date"
    model = f", model {report['run']['model']['source']}" if "run" in report else ""
    _line(f"{stored.path}  {when}", style="bold")
    sets = f", mean of {len(report['sets'])} of {report.get('of')} sets" if "sets" in report else ""
    _line(f"  {report['evaluation']} on {data['name']}{sets}, n = {data['n']:,}{model}")
    for row in report["models"]:
        told = ", ".join(part.replace(" ", "\xa0") for part in summary(row, headline(stored)))  # wraps between metrics
        _line(
            fill(f"  {row['name']}: {told}", 80, subsequent_indent="    ", break_on_hyphens=False).replace("\xa0", " ")
        )


def _line(text: str, style: str = "") -> None:
    """Print text as it is: paths are there to be copied."""
    out.print(text, style=style, markup=False, soft_wrap=True)


def _name(unusable: list[Unusable]) -> None:
    for entry in unusable:
        err.print(f"{entry.path} {entry.reason}", style="dim", markup=False, soft_wrap=True)


def _time(text: str | None) -> Any:
    """Read a day or a time; without a zone it is the local one."""
    from datetime import datetime

    from editkit.errors import RecipeError

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise RecipeError(f"--since {text} is no date.", "Write --since 2026-01-31 or 2026-01-31T18:00") from error
