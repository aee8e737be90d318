"""`editkit diff`: what differs between two checkpoints, bit by bit, without torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editkit.cli.console import emit_json, out
from editkit.cli.session import Session

if TYPE_CHECKING:
    from editkit.files.difference import TensorDifference

DIFFERENT = 3  # the exit code of a check that failed
SHOWN = 40  # lines; --json has all of them


def diff(
    ctx: typer.Context,
    model_a: Annotated[
        str, typer.Argument(help="A model folder, a .safetensors file or a hub id.", show_default=False)
    ],
    model_b: Annotated[str, typer.Argument(help="The model to compare it with.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the weights of two models bit by bit. Exit code 0: all equal; 3: they differ."""
    from editkit.files.checkpoint import Checkpoint
    from editkit.files.difference import difference
    from editkit.models.find import weights_path

    place_a, place_b = (weights_path(model, Session.of(ctx).host) for model in (model_a, model_b))
    a, b = Checkpoint.open(place_a), Checkpoint.open(place_b)
    if not set(a.tensors) & set(b.tensors):
        # A folder may hold the weights of two libraries; compare those that correspond.
        b = Checkpoint.open(place_b, holding=a.tensors)
        a = Checkpoint.open(place_a, holding=b.tensors)
    found = difference(a, b)
    differing = [entry for entry in found if not entry.equal]
    if json_:
        entries = [{key: value for key, value in asdict(entry).items() if value is not None} for entry in differing]
        result: dict[str, Any] = {"a": model_a, "b": model_b, "tensors": len(found), "equal": not differing}
        emit_json(result | {"differing": entries})
    else:
        _print(found, differing)
    if differing:
        raise typer.Exit(DIFFERENT)


def _print(found: list[TensorDifference], differing: list[TensorDifference]) -> None:
    if not differing:
        out.print(f"Equal: all {len(found)} tensors, every bit.")
        return
    out.print(f"{'differ':>11} {'share':>8} {'largest':>9} {'norm':>9} {'relative':>9}  tensor")
    for entry in differing[:SHOWN]:
        out.print(f"{_numbers(entry)}  {entry.key}", markup=False, soft_wrap=True)
    if len(differing) > SHOWN:
        out.print(f"... and {len(differing) - SHOWN} more tensors: --json lists all of them.")
    weights = sum(entry.count or 0 for entry in differing)
    out.print(f"{len(differing)} of {len(found)} tensors differ, in {weights:,} elements that can be compared.")


def _numbers(entry: TensorDifference) -> str:
    width = 50
    if None in entry.dtypes:
        return f"only in {'A' if entry.dtypes[1] is None else 'B'}".rjust(width)
    if entry.shapes[0] != entry.shapes[1]:
        return f"shapes {list(entry.shapes[0] or ())} and {list(entry.shapes[1] or ())}".rjust(width)
    kinds = "" if entry.dtypes[0] == entry.dtypes[1] else f" ({entry.dtypes[0]} and {entry.dtypes[1]})"
    if entry.count is None:
        return f"bytes differ{kinds}".rjust(width)
    share = entry.count / entry.size if entry.size else 0.0
    values = "".join(
        f" {'-' if value is None else f'{value:.3g}':>9}" for value in (entry.largest, entry.norm, entry.relative)
    )
    odd = f"  [{entry.not_finite} not finite]" if entry.not_finite else ""
    return f"{entry.count:>11,} {share:>8.3%}{values}{odd}{kinds}"
