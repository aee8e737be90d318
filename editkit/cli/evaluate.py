"""`editkit eval NAME`: a model, patches of it and their controls side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note, out
from editkit.cli.session import Session

if TYPE_CHECKING:
    from editkit.components.host import Host
    from editkit.reports.schema import Report


def evaluate(
    ctx: typer.Context,
    evaluation: Annotated[str, typer.Argument(help="safeground, retrieval, zeroshot, captioning, or a plugin's.")],
    patch: Annotated[
        list[Path] | None, typer.Option(help="A patch to measure beside the base; may be repeated.")
    ] = None,
    model: flags.Model = None,
    data: flags.Data = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Leave out the matched controls.")] = False,
    knowledge: Annotated[
        str | None, typer.Option(help="Class set measured beside tuples: NAME[:PATH] or none.")
    ] = None,
    sets: Annotated[str | None, typer.Option(help="Zero-shot sets: a,b. [default: all that are there]")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Of zero-shot sets: uwm or clip-benchmark. [default: uwm]")
    ] = None,
    by: Annotated[str | None, typer.Option(help="concept: also a table by concept.")] = None,
    every_metric: Annotated[bool, typer.Option("--all-metrics", help="Changes of all metrics.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new file for the report. [default: in editkit-runs]")
    ] = None,
    similarities: Annotated[
        Path | None, typer.Option(help="A new Parquet file: every tuple's similarities, hits and ranks.")
    ] = None,
    recipe: flags.RecipeFile = None,
    settings: flags.Settings = None,
    json: flags.Json = False,
    limit: flags.Limit = None,
    concepts: flags.Concepts = None,
    split: flags.Split = None,
    seed: flags.Seed = None,
    batch_size: flags.BatchSize = None,
    workers: flags.Workers = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    autocast: flags.Autocast = None,
    no_cache: flags.NoCache = False,
    on_bad_item: flags.OnBadItem = None,
) -> None:
    """Measure a model, and any patches of it beside chance and matched controls.

    editkit eval safeground --patch editkit-runs/uwm-...
    """
    from editkit.cli.console import quiet_libraries
    from editkit.cli.progress import stage
    from editkit.errors import RecipeError
    from editkit.files.outputs import check_new_file
    from editkit.recipes.arguments import Arguments
    from editkit.recipes.layers import parse_settings

    if evaluation == "captioning":
        raise RecipeError(
            "`captioning` has flags of its own, so it stands before all flags.",
            "Write editkit eval captioning, then the flags; `editkit eval captioning --help` lists them.",
        )
    if by not in (None, "concept"):
        raise RecipeError(f"--by {by}: results can be shown by concept only.", "Write --by concept")
    asked = Arguments(
        recipe=recipe,
        settings=parse_settings(settings or []),
        model=model,
        data=data,
        on_bad_item=on_bad_item,
        sets=flags.words(sets),
        profile=profile,
        limit=limit,
        concepts=flags.words(concepts),
        split=split,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        device=device,
        dtype=dtype,
        autocast=autocast,
        cache=False if no_cache else None,
    )
    layers = asked.layers(called="flag", settings_called="--set")
    chooser = next((flag for flag, value in (("--sets", sets), ("--profile", profile)) if value is not None), None)
    if chooser and not any("data.name" in layer for _, layer in layers):
        raise RecipeError(
            f"{chooser} chooses among sets of labelled images in a folder, and no folder was named.",
            "Add --data zeroshot:DIR",
        )
    if output is not None:
        check_new_file(output)  # now, not after the work
    host = Session.of(ctx).host
    quiet_libraries()
    from editkit.evals.run import run_evaluation

    report = run_evaluation(
        evaluation,
        layers,
        host,
        patches=patch or [],
        controls=not no_controls,
        knowledge=knowledge,
        similarities=similarities,
        stage=stage,
    )
    kept = _keep(report, output, host)
    if json:
        emit_json(report)
        note(kept)
        return
    from editkit.reports.show import render
    from editkit.reports.verdict import verdict

    for line in report.get("notes", []):
        note(line)
    render(report, out, by_concept=by is not None, every_metric=every_metric)
    out.print()
    for sentence in verdict(report, _tau(patch or [], report)):
        out.print(sentence)
    note(kept)
    if not patch:
        note("Next: editkit edit --scorer uwm --alpha -1 --tau 0.02")


def _keep(report: Report, output: Path | None, host: Host) -> str:
    """Write the report and say where; a place that no one asked for costs a line if it fails, never the result."""
    from editkit.errors import OutputError
    from editkit.reports.store import save_report

    try:
        path = save_report(report, output)
    except OutputError as error:
        if output is not None:
            raise
        return f"The report is not kept: {error.problem}"
    for line in host.finished({**report}, path):
        note(line)
    return f"Kept in {path}; `editkit results` lists all."


def _tau(patches: list[Path], report: Report) -> dict[str, float]:
    """Return the tau of each edit by the name it has in the report, where its method has one."""
    from editkit.patch.record_file import read_record

    found = {}
    names = {row["patch"]: row["name"] for row in report["models"]}
    for patch in patches:
        recipe = read_record(patch).get("recipe", {})
        taus = [tau for tower in ("text", "vision") if (tau := recipe.get(tower, {}).get("selector", {}).get("tau"))]
        if taus:
            found[names[str(patch)]] = max(taus)
    return found
