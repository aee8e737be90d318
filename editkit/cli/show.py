"""`editkit show`: what patches are, from their records alone (numpy only to compare several)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editkit.cli import next_step
from editkit.cli.console import emit_json
from editkit.cli.flags import Json, path
from editkit.cli.session import Session


def show(
    ctx: typer.Context,
    patches: Annotated[
        list[Path], typer.Argument(metavar="PATCH", help="Patch folders.", show_default=False, parser=path)
    ],
    json: Json = False,
) -> None:
    """Show what a patch is: its recipe, and per site what was selected; of several, how far they chose the same."""
    import editkit
    from editkit.cli.render_overlap import overlap_as_json, print_overlaps
    from editkit.cli.render_patch import patch_as_json, print_patch

    shown = editkit.show(*patches)
    if json:
        summaries = [patch_as_json(patch) for patch in shown.patches]
        emit_json({"patches": summaries, "overlap": [overlap_as_json(pair) for pair in shown.overlap]})
        return
    session = Session.of(ctx)
    if shown.overlap:
        print_overlaps(shown.patches, shown.overlap)
        step = next_step.evaluate_patches([patch.record for patch in shown.patches], patches, session.host)
    else:
        print_patch(shown.patches[0])
        step = next_step.apply_patch(shown.patches[0].record, patches[0])
    if step is not None:
        next_step.print_step(session, step)
