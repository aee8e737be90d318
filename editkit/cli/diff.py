"""`editkit diff`: what differs between two checkpoints, bit by bit, without torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editkit.cli.console import emit_json, quiet_libraries, write_line
from editkit.cli.flags import Json
from editkit.cli.session import Session

if TYPE_CHECKING:
    from editkit.files.difference import ModelDifference, TensorDifference

DIFFERENT = 3  # the exit code of a check that failed
SHOWN = 40  # tensors; --json has all of them


def diff(
    ctx: typer.Context,
    model_a: Annotated[
        str,
        typer.Argument(
            help="Whatever `edit --model` takes, or a file of weights.", metavar="MODEL_A", show_default=False
        ),
    ],
    model_b: Annotated[
        str, typer.Argument(help="The model to compare it with.", metavar="MODEL_B", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Compare the weights of two models bit by bit. Exit code 0: all equal; 3: they differ."""
    import editkit
    from editkit.api.bars import stage

    quiet_libraries()
    found = editkit.diff(model_a, model_b, host=Session.of(ctx).host, stage=stage)
    if json:
        entries = [
            {key: value for key, value in asdict(entry).items() if value is not None} for entry in found.differing
        ]
        facts: dict[str, Any] = {"a": model_a, "b": model_b, "tensors": len(found.tensors), "equal": found.equal}
        emit_json(facts | {"differing": entries})
    else:
        _print(found)
    if not found.equal:
        raise typer.Exit(DIFFERENT)


def _print(found: ModelDifference) -> None:
    from editkit.cli.table import number, print_table, whole

    differing = found.differing
    if not differing:
        write_line(f"Equal: all {len(found.tensors)} tensors, every bit.")
        return
    numbers = [number(head) for head in ("differ", "share", "largest", "norm", "relative")]
    print_table([*numbers, whole("tensor"), whole()], [_row(entry) for entry in differing[:SHOWN]])
    if len(differing) > SHOWN:
        write_line(f"... and {len(differing) - SHOWN} more tensors: --json lists all of them.")
    weights = sum(entry.count or 0 for entry in differing)
    write_line(
        f"{len(differing)} of {len(found.tensors)} tensors differ, in {weights:,} elements that can be compared."
    )


def _row(entry: TensorDifference) -> list[str]:
    from editkit.cli.table import figure

    share = None if entry.count is None else entry.count / entry.size if entry.size else 0.0
    values = [figure(value, ".3g") for value in (entry.largest, entry.norm, entry.relative)]
    return [figure(entry.count, ","), figure(share, ".3%"), *values, entry.key, ", ".join(_remarks(entry))]


def _remarks(entry: TensorDifference) -> list[str]:
    """Say what the numbers do not: why there are none, and what they leave out."""
    if None in entry.dtypes:
        return [f"only in {'A' if entry.dtypes[1] is None else 'B'}"]
    if entry.shapes[0] != entry.shapes[1]:
        return [f"shapes {list(entry.shapes[0] or ())} and {list(entry.shapes[1] or ())}"]
    remarks = [] if entry.dtypes[0] == entry.dtypes[1] else [f"{entry.dtypes[0]} and {entry.dtypes[1]}"]
    if entry.count is None:
        remarks.append("the bytes differ")
    return remarks + ([f"{entry.not_finite} not finite"] if entry.not_finite else [])
