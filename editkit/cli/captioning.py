"""`editkit eval captioning`: what a model says of images, and what it says once edited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note, out
from editkit.cli.session import Session


def captioning(
    ctx: typer.Context,
    patch: Annotated[
        list[Path] | None, typer.Option(help="A patch to measure beside the base; may be repeated.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or hub id that writes captions. [default: the patch's]")
    ] = None,
    data: flags.Data = None,
    prompt: Annotated[str | None, typer.Option(help="What the model is asked. [default: as released]")] = None,
    temperature: Annotated[float | None, typer.Option(help="0: the likeliest words. [default: 0.2]")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest caption, in tokens. [default: 1024]")] = None,
    sides: Annotated[str | None, typer.Option(help="Images to caption: unsafe,safe. [default: unsafe]")] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="A judge of the captions, with --set judge.NAME.OPTION=VALUE; may be repeated."),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also the matched controls: each takes as long as its patch.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for captions, where an earlier run is gone on with.")
    ] = None,
    settings: flags.Settings = None,
    json: flags.Json = False,
    limit: flags.Limit = None,
    concepts: flags.Concepts = None,
    split: flags.Split = None,
    seed: flags.Seed = None,
    batch_size: Annotated[int | None, typer.Option(help="Images captioned at once. [default: 8]")] = None,
    device: flags.Device = None,
    device_map: Annotated[
        str | None, typer.Option(help="Spread the model over devices, as transformers does: auto.")
    ] = None,
    dtype: flags.Dtype = None,
    on_bad_item: flags.OnBadItem = None,
) -> None:
    """Caption images with a model and with edits of it, and compare and judge the captions.

    Stopped at any moment, the same command goes on with the next batch.

    editkit eval captioning --model llava-hf/llava-1.5-7b-hf --patch editkit-runs/uwm-... --judge toxicity
    """
    from editkit.cli.console import quiet_libraries
    from editkit.cli.progress import stage
    from editkit.components.choice import validate_options
    from editkit.evals.captions.options import CaptioningOptions
    from editkit.recipes.arguments import Arguments
    from editkit.recipes.layers import given, parse_settings

    given_options = {
        "prompt": prompt,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "sides": flags.words(sides),
    }
    options = validate_options(CaptioningOptions, given(given_options), "captioning")
    extra = parse_settings(settings or [])
    of_judges = {path: value for path, value in extra.items() if path.startswith("judge.")}
    asked = Arguments(
        settings={path: value for path, value in extra.items() if path not in of_judges},
        model=model,
        data=data,
        on_bad_item=on_bad_item,
        limit=limit,
        concepts=flags.words(concepts),
        split=split,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    quiet_libraries()
    from editkit.evals.captions.evaluation import run_captioning

    made = run_captioning(
        asked.layers(called="flag", settings_called="--set"),
        Session.of(ctx).host,
        options,
        patches=patch or [],
        judges=judge or [],
        judge_settings=of_judges,
        controls=controls,
        device_map=device_map,
        output=output,
        stage=stage,
    )
    for line in made.notes:
        note(line)
    if json:
        emit_json(made.report)
        return
    from editkit.evals.captions.table import render

    for line in made.report["notes"]:
        note(line)
    render(made.report, out)
    note(f"Captions: {made.folder}")
