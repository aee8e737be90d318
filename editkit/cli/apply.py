"""`editkit apply` and `editkit revert`: model files in, new model files out, without torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editkit.cli.console import emit_json, note, out
from editkit.cli.flags import measure

if TYPE_CHECKING:
    from editkit.patch.patch import Applied

PatchFolder = Annotated[Path, typer.Argument(help="A patch: the folder that `editkit edit` wrote.", show_default=False)]
Model = Annotated[
    str,
    typer.Argument(help="A model folder, a .safetensors file, or a hub id org/name[@revision].", show_default=False),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="The new folder to write.", show_default=False)]
OtherTensors = Annotated[
    bool,
    typer.Option("--allow-other-tensors", help="Accept a model that differs in tensors the patch does not touch."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def apply(
    patch: PatchFolder, model: Model, output: Output, allow_other_tensors: OtherTensors = False, json_: Json = False
) -> None:
    """Write a copy of MODEL with PATCH applied. The weights must be exactly those the patch was made from."""
    from editkit.cli.progress import stage
    from editkit.components.load import default_host
    from editkit.models.find import weights_path
    from editkit.patch.patch import Patch

    loaded = Patch.load(patch)
    applied = loaded.apply(
        weights_path(model, default_host()), output, allow_other_tensors=allow_other_tensors, stage=stage
    )
    ready = [command] if (command := measure(loaded.record, [str(patch)], model=str(model))) else []
    ready += [f"editkit revert {_word(patch)} {_word(output)} -o {_word(f'{output}-reverted')}"]
    _report(f"Applied {patch} to {model}", applied, ready, json_=json_)


def revert(
    patch: PatchFolder, model: Model, output: Output, allow_other_tensors: OtherTensors = False, json_: Json = False
) -> None:
    """Write a copy of MODEL, to which PATCH was applied, with every byte as it was before."""
    from editkit.cli.progress import stage
    from editkit.components.load import default_host
    from editkit.models.find import weights_path
    from editkit.patch.patch import Patch

    applied = Patch.load(patch).revert(
        weights_path(model, default_host()), output, allow_other_tensors=allow_other_tensors, stage=stage
    )
    ready = [f"editkit diff {_word(model)} {_word(output)}"]
    _report(f"Reverted {patch} in {model}", applied, ready, json_=json_)


def _report(done: str, applied: Applied, ready: list[str], *, json_: bool) -> None:
    if json_:
        result: dict[str, Any] = {
            "output": str(applied.output),
            "files": list(applied.files),
            "tensors": applied.tensors,
            "weights": applied.weights,
            "left_out": list(applied.left_out),
            "next": ready,
        }
        emit_json(result)
        return
    if applied.left_out:
        note(f"Left out, because they hold unedited weights: {', '.join(applied.left_out)}")
    counts = f"{applied.weights:,} weights in {applied.tensors} tensor{'' if applied.tensors == 1 else 's'}"
    out.print(f"{done}: {counts}. Written to {applied.output}.", markup=False, soft_wrap=True)
    for command in ready:
        out.print(f"Next: {command}", markup=False, soft_wrap=True)


def _word(text: object) -> str:
    return shlex.quote(str(text))
