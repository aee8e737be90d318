"""`editkit eval NAME`: a model, patches of it and their controls side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editkit.cli import flags
from editkit.cli.console import emit_json, note, out

if TYPE_CHECKING:
    from editkit.evals.report import Report


def evaluate(
    evaluation: Annotated[str, typer.Argument(help="safeground, retrieval, zeroshot, or a plugin's.")],
    patch: Annotated[
        list[Path] | None, typer.Option(help="A patch to measure beside the base; may be repeated.")
    ] = None,
    model: flags.Model = None,
    data: flags.Data = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Leave out the matched controls.")] = False,
    knowledge: Annotated[
        str | None, typer.Option(help="Class set measured beside tuples: NAME[:PATH] or none.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="concept: also a table by concept.")] = None,
    every_metric: Annotated[bool, typer.Option("--all-metrics", help="Changes of all metrics.")] = False,
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
    from editkit.cli.progress import stage
    from editkit.cli.quiet import quiet_libraries
    from editkit.errors import RecipeError
    from editkit.named_recipes import origin
    from editkit.plugins import default_host
    from editkit.recipe import parse_settings, read_recipe

    if by not in (None, "concept"):
        raise RecipeError(f"--by {by}: results can be shown by concept only.", "Write --by concept")
    shared = flags.layer(
        model, data, limit, concepts, split, seed, batch_size, workers, device, dtype, no_cache, on_bad_item, autocast
    )
    layers = [(origin(recipe), read_recipe(recipe))] if recipe is not None else []
    layers += [("flag", shared), ("--set", parse_settings(settings or []))]
    host = default_host()
    quiet_libraries()
    from editkit.evaluation import run_evaluation

    report = run_evaluation(
        evaluation,
        layers,
        host,
        patches=patch or [],
        controls=not no_controls,
        knowledge=knowledge,
        stage=stage,
    )
    if json:
        emit_json(report)
        return
    from editkit.evals.tables import render
    from editkit.evals.verdict import verdict

    for line in report.get("notes", []):
        note(line)
    render(report, out, by_concept=by is not None, every_metric=every_metric)
    out.print()
    for sentence in verdict(report, _tau(patch or [], report)):
        out.print(sentence)
    if not patch:
        note("Next: editkit edit --scorer uwm --alpha -1 --tau 0.02")


def _tau(patches: list[Path], report: Report) -> dict[str, float]:
    """Return the tau of each edit by the name it has in the report, where its method has one."""
    from editkit.patch_record import read_record

    found = {}
    names = {row["patch"]: row["name"] for row in report["models"]}
    for patch in patches:
        recipe = read_record(patch).get("recipe", {})
        taus = [tau for tower in ("text", "vision") if (tau := recipe.get(tower, {}).get("selector", {}).get("tau"))]
        if taus:
            found[names[str(patch)]] = max(taus)
    return found
