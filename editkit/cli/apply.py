"""`editkit apply` and `editkit revert`: model files in, new model files out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editkit.cli import next_step
from editkit.cli.console import emit_json, note, quiet_libraries, write_line
from editkit.cli.flags import Json, path
from editkit.cli.session import Session
from editkit.patch.record_file import read_record

if TYPE_CHECKING:
    from editkit.patch.patch import Applied

PatchFolder = Annotated[
    Path,
    typer.Argument(
        help="A patch: the folder that `editkit edit` wrote.", metavar="PATCH", show_default=False, parser=path
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        help="Whatever `edit --model` takes (a folder, a hub id org/name[@revision]), or a file of weights.",
        metavar="MODEL",
        show_default=False,
    ),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="The new folder to write.", show_default=False, parser=path)
]
OtherTensors = Annotated[
    bool,
    typer.Option("--allow-other-tensors", help="Accept a model that differs in tensors that the patch does not touch."),
]


def apply(
    ctx: typer.Context,
    patch: PatchFolder,
    model: Model,
    output: Output,
    allow_other_tensors: OtherTensors = False,
    json: Json = False,
) -> None:
    """Write a copy of MODEL with PATCH applied. The weights must be exactly those the patch was made from."""
    import editkit
    from editkit.api.bars import stage

    session = Session.of(ctx)
    quiet_libraries()
    applied = editkit.apply(
        patch, model, output, allow_other_tensors=allow_other_tensors, host=session.host, stage=stage
    )
    steps = [next_step.Step(["revert", str(patch), str(output), "-o", f"{output}-reverted"])]
    if next_step.can_be_evaluated(model, session.host):
        measured = next_step.evaluate_patches([read_record(patch)], [patch], session.host, model=model)
        steps = [*filter(None, (measured,)), *steps]
    _report(f"Applied {patch} to {model}", applied, session, steps, as_json=json)


def revert(
    ctx: typer.Context,
    patch: PatchFolder,
    model: Model,
    output: Output,
    allow_other_tensors: OtherTensors = False,
    json: Json = False,
) -> None:
    """Write a copy of MODEL, to which PATCH was applied, with every byte as it was before."""
    import editkit
    from editkit.api.bars import stage

    session = Session.of(ctx)
    quiet_libraries()
    applied = editkit.revert(
        patch, model, output, allow_other_tensors=allow_other_tensors, host=session.host, stage=stage
    )
    compared = next_step.Step(["diff", model, str(output)])
    _report(f"Reverted {patch} in {model}", applied, session, [compared], as_json=json)


def _report(done: str, applied: Applied, session: Session, steps: Sequence[next_step.Step], *, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {
            "output": str(applied.output),
            "files": list(applied.files),
            "tensors": applied.tensors,
            "weights": applied.weights,
            "left_out": list(applied.left_out),
            "next": [session.command(*step.words) for step in steps if not step.lacking],
        }
        emit_json(result)
        return
    if applied.left_out:
        note(f"Left out, because they hold unedited weights: {', '.join(applied.left_out)}")
    counts = f"{applied.weights:,} weights in {applied.tensors} tensor{'' if applied.tensors == 1 else 's'}"
    write_line(f"{done}: {counts}. Written to {applied.output}.")
    for step in steps:
        next_step.print_step(session, step)
