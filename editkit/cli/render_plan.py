"""A plan on the screen: the recipe and where each value came from, sites, data, memory, cache."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.text import Text

from editkit.cli.console import note, out, size_text, write_line
from editkit.cli.table import number, print_table, prose, whole
from editkit.editing import estimate
from editkit.editing.forecast import Forecast, forecast_cache
from editkit.editing.plan import Plan
from editkit.recipes.origins import sourced_values

MOST_SHAPES = 2
"""More shapes than these in one row are counted."""


def print_plan(plan: Plan) -> None:
    """Print a plan; nothing has been read but headers, configuration and the list of tuples."""
    forecast = forecast_cache(plan)
    _print_recipe(plan)
    _headed("\nModel", f"{plan.recipe.model} ({plan.files.family})")
    if pending := plan.files.checkpoint.pending:
        note(f"weights: {pending.what}")
    for line in plan.files.notes:
        note(line)
    if plan.data is not None:
        _headed("Data", f" {plan.data.name}/{plan.data.split}: {len(plan.data.items)} tuples")
    if plan.preserved:
        _headed("Preserved", f" {_counted(plan.preserved.describe())}")
        for line in plan.preserved.warnings:
            note(line)
    _print_sites(plan, forecast)
    _print_memory(plan, forecast)
    _print_cache(forecast)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as one JSON object."""
    forecast = forecast_cache(plan)
    return {
        "schema": "editkit.plan/1",
        "recipe": plan.recipe.describe(),
        "recipe_digest": plan.recipe.digest,
        "origins": {entry.path: entry.origin for entry in sourced_values(plan.recipe, plan.towers)},
        "model": _model_as_json(plan),
        "notes": list(plan.files.notes),
        "data": None
        if plan.data is None
        else {"name": plan.data.name, "split": plan.data.split, "n": len(plan.data.items)},
        **({"preserved": plan.preserved.describe()} if plan.preserved else {}),
        "sites": [{"site": site.name, "key": site.key, "shape": list(site.shape)} for site in plan.sites],
        "groups": _groups(plan, forecast),
        "not_edited": list(plan.untouched_towers),
        "memory": estimate.memory(plan),
        "passes": {tower: estimate.passes(plan, tower) for tower in plan.towers},
        "cache": _cache_as_json(forecast),
    }


def _model_as_json(plan: Plan) -> dict[str, Any]:
    """Say what is edited, and what is to be done before its weights can be read."""
    files = plan.files
    facts = {"source": plan.recipe.model, "family": files.family, "commit": files.commit}
    pending = files.checkpoint.pending
    return {name: value for name, value in {**facts, "pending": pending.what if pending else ""}.items() if value}


def _cache_as_json(forecast: Forecast) -> dict[str, Any]:
    """Describe what a run would find in the cache and add to it; sizes are bytes."""
    parts = [
        {"kind": part.kind, "tower": part.tower, "what": part.what, "state": part.state(), "adds": part.adds}
        for part in forecast.parts
    ]
    return {
        "folder": str(forecast.folder),
        "limit": forecast.limit,
        "held": forecast.held,
        "adds": forecast.adds,
        "parts": parts,
    }


def _print_recipe(plan: Plan) -> None:
    _headed("Recipe")
    values = sourced_values(plan.recipe, plan.towers)
    rows = [(entry.path, _text(entry.value), entry.origin) for entry in values]
    print_table([whole("value"), prose(), prose("from")], rows)


def _print_sites(plan: Plan, forecast: Forecast) -> None:
    rows = []
    for row in _groups(plan, forecast):
        shapes = row["shape"].split(", ")
        shape = row["shape"] if len(shapes) <= MOST_SHAPES else f"{len(shapes)} shapes"
        rows.append((row["sites"], str(row["layers"]), shape, f"{row['weights']:,}", row["cache"]))
    print_table([whole("sites"), number("count"), prose("shape"), number("weights"), whole("scores cached")], rows)
    for tower in plan.untouched_towers:
        write_line(f"The {tower} tower has no target: it is not edited.", "yellow")


def _print_memory(plan: Plan, forecast: Forecast) -> None:
    memory = estimate.memory(plan)
    scores = f"{size_text(memory['scores'])} for scores (one tower at a time), " if memory["scores"] else ""
    _wrapped("Memory", f"about {size_text(memory['model'])} for the model, {scores}and one batch.")
    moments = [part for part in forecast.parts if part.kind == "moments"]
    kept = {part.tower for part in moments} - {part.tower for part in moments if part.state() != "hit"}
    for tower in plan.towers:
        if tower in kept:
            write_line(f"The {tower} tower's statistics are in the cache.")
        elif passes := estimate.passes(plan, tower):
            times = "one pass" if passes == 1 else f"{passes} passes"
            held = size_text(estimate.moments_memory(plan, tower))
            write_line(f"The {tower} tower's statistics take {times} over the data and {held} at a time.")


def _print_cache(forecast: Forecast) -> None:
    if not forecast.adds:
        return
    kinds = dict.fromkeys(part.kind for part in forecast.parts if part.adds)
    sizes = {kind: sum(part.adds for part in forecast.parts if part.kind == kind) for kind in kinds}
    told = ", ".join(f"{size_text(size)} of {kind}" for kind, size in sizes.items())
    _wrapped("Cache", f" A run would add {told}.")
    if forecast.adds + forecast.held > forecast.limit:
        write_line(
            f"The cache holds {size_text(forecast.held)} and may hold {size_text(forecast.limit)} "
            "(EDITKIT_CACHE_SIZE): what was used longest ago goes first.",
            "yellow",
        )


def _groups(plan: Plan, forecast: Forecast) -> list[dict[str, Any]]:
    """Return the sites of one tower and role together, whatever their layer."""
    rows = []
    for (tower, role), members in groupby(
        sorted(plan.sites, key=lambda site: (site.tower, site.role, site.layer)),
        key=lambda site: (site.tower, site.role),
    ):
        sites = list(members)
        shapes = {f"{site.shape[0]} x {site.shape[1]}" for site in sites}
        rows.append(
            {
                "sites": f"{tower} tensors" if role == "tensor" else f"{tower}:{role}",
                "layers": len(sites),
                "shape": ", ".join(sorted(shapes)),
                "weights": sum(site.size for site in sites),
                "cache": forecast.scores(sites),
            }
        )
    return rows


def _counted(counts: dict[str, int]) -> str:
    return " and ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _headed(head: str, text: str = "") -> None:
    write_line(Text.assemble((head, "bold"), f" {text}" if text else ""))


def _wrapped(head: str, text: str) -> None:
    """Print a sentence that holds nothing to be copied, in as many lines as the screen's width asks for."""
    out.print(Text.assemble((head, "bold"), f" {text}"))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
