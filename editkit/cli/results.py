"""`editkit results [FOLDER ...]` and `editkit results export RUN ...`: kept evaluations, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from editkit.api.runs import RUNS
from editkit.cli.console import emit_json, note, write_line
from editkit.cli.flags import Json, path, words
from editkit.reports.elsewhere import LIST
from editkit.reports.forms import Form

GONE = f"is not there any more: it was moved or removed. The list in {RUNS / LIST} names it."
"""Of a report that `-o` placed."""

if TYPE_CHECKING:
    from editkit.reports.read import Stored, Unusable


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


@app.command("list", short_help="List runs, newest first.")
def list_runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders with reports, or files. [default: editkit-runs, and what -o placed elsewhere]",
            metavar="FOLDER",
            parser=path,
        ),
    ] = None,
    evaluation: Annotated[str | None, typer.Option(help="Only runs of this evaluation.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs whose base model's name or digest has this.")] = None,
    patch: Annotated[str | None, typer.Option(help="Only runs with a patch whose name or digest has this.")] = None,
    data: Annotated[str | None, typer.Option(help="Only runs whose data's name or fingerprint has this.")] = None,
    since: Annotated[str | None, typer.Option(help="Only runs since this day or time: 2026-01-31.")] = None,
    json: Json = False,
) -> None:
    """List runs, newest first, with their headline metrics; a file that cannot be used is named on stderr.

    editkit results --evaluation safeground --since 2026-01-31
    """
    import editkit
    from editkit.reports.listing import as_json

    found = editkit.results(*(folders or ()), evaluation=evaluation, model=model, patch=patch, data=data, since=since)
    if json:
        files = [{"file": str(entry.path), "reason": entry.reason} for entry in found.unusable]
        files += [{"file": str(path), "reason": GONE} for path in found.gone]
        emit_json({"runs": [as_json(stored) for stored in found.runs], "unusable": files})
        return
    for stored in found.runs:
        _print(stored)
    _name(found.unusable)
    for place in found.gone:
        note(f"{place} {GONE}")
    if not found.total:
        looked = ", ".join(map(str, folders)) if folders else f"{RUNS} of this folder"
        note(f"There are no runs in {looked} yet. `editkit eval safeground` makes one.")
    elif len(found.runs) < found.total:
        note(f"{len(found.runs)} of {found.total} runs.")


@app.command(short_help="Write runs as a table, or for other programs.")
def export(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Runs by name, their files, or folders.", show_default=False)
    ],
    form: Annotated[Form, typer.Option("--format", help="The format to write.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new file; for clip-benchmark, a new folder.", parser=path)
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Of a table: these columns, in this order: a,b.")] = None,
    patch: Annotated[str | None, typer.Option(help="Of a model index: the edit that the card describes.")] = None,
) -> None:
    """Export runs: tables in the paper's column order, CLIP_benchmark's JSON, or metadata of a model card.

    editkit results export eval-safeground-1a2b3c4d eval-zeroshot-5e6f7a8b --format latex -o table.tex
    """
    import editkit

    exported = editkit.export(runs, form, output=output, metrics=words(metrics), patch=patch)
    _name(exported.unusable)
    if exported.text is not None:
        print(exported.text, end="")
    else:
        note(f"Wrote {exported.output}")


def _print(stored: Stored) -> None:
    from editkit.reports.listing import headline, summary

    report, data = stored.report, stored.report["data"]
    when = stored.created.astimezone().strftime("%Y-%m-%d %H:%M") if stored.created else "no date"
    model = f", model {report['run']['model']['source']}" if "run" in report else ""
    write_line(f"{stored.path}  {when}", style="bold")
    sets = f", mean of {len(report['sets'])} of {report.get('of')} sets" if "sets" in report else ""
    write_line(f"  {report['evaluation']} on {data['name']}{sets}, n = {data['n']:,}{model}")
    for row in report["models"]:
        told = ", ".join(part.replace(" ", "\xa0") for part in summary(row, headline(stored)))  # wraps between metrics
        write_line(
            fill(f"  {row['name']}: {told}", 80, subsequent_indent="    ", break_on_hyphens=False).replace("\xa0", " ")
        )


def _name(unusable: Sequence[Unusable]) -> None:
    for entry in unusable:
        note(f"{entry.path} {entry.reason}")
