"""`editkit judge ITEMS ...`: how unsafe texts or images are that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note, out
from editkit.cli.session import Session


def judge(
    ctx: typer.Context,
    items: Annotated[
        list[Path],
        typer.Argument(
            help="Tables (.jsonl, .csv, .parquet) of texts or images, or folders of images.",
            show_default=False,
            parser=flags.path,
        ),
    ],
    judges: Annotated[
        list[str], typer.Option("--judge", help="A judge, NAME or LABEL=NAME; may be repeated.", show_default=False)
    ],
    column: Annotated[
        str | None, typer.Option(help="Column with what to judge. [default: text, caption or image]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A new folder. [default: in editkit-runs]", parser=flags.path),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of a judge: judge.LABEL.OPTION=VALUE.", metavar="PATH=VALUE"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json: flags.Json = False,
) -> None:
    """Judge captions or a gallery, and compare galleries: the second and later with the first, by id or file name.

    editkit judge gallery/base gallery/edited --judge nsfw-image
    """
    from editkit.api.bars import stage
    from editkit.cli.console import quiet_libraries
    from editkit.errors import RecipeError
    from editkit.recipes.layers import parse_settings

    given = parse_settings(settings or [])
    if stray := next((path for path in given if not path.startswith("judge.")), None):
        raise RecipeError(f"--set {stray}: only judges have options here.", "Write --set judge.NAME.OPTION=VALUE")
    quiet_libraries()
    from editkit.api.judge import judge as judge_items

    made = judge_items(
        items,
        judges,
        settings=given,
        column=column,
        output=output,
        seed=seed,
        host=Session.of(ctx).host,
        stage=stage,
    )
    for line in made.notes:
        note(line)
    if json:
        emit_json(made.report)
    else:
        from editkit.evals.judges.table import render

        render(made.report, out)
    note(f"Verdicts: {made.folder}")
