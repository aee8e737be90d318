"""A plan on the screen: the recipe and where each value came from, sites, data, memory, cache."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.table import Table

from editkit.cli.console import note, out, size_text
from editkit.components.site import TOWERS
from editkit.editing import estimate
from editkit.editing.forecast import Forecast, forecast_cache
from editkit.editing.plan import Plan

MOST_SHAPES = 2
"""More shapes than these in one row are counted."""


def print_plan(plan: Plan) -> None:
    """Print a plan; nothing has been read but headers, configuration and the list of tuples."""
    forecast = forecast_cache(plan)
    out.print("[bold]Recipe[/bold]")
    recipe = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("value", "", "from"):
        recipe.add_column(header)
    for path, value, origin in _values(plan):
        recipe.add_row(path, value, origin)
    out.print(recipe)
    out.print(f"\n[bold]Model[/bold] {plan.recipe.model} ({plan.files.family})")
    for line in plan.files.notes:
        note(line)
    if plan.data is not None:
        out.print(f"[bold]Data[/bold]  {plan.data.name}/{plan.data.split}: {len(plan.data.items)} tuples")
    sites = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("sites", "count", "shape", "weights", "scores cached"):
        sites.add_column(header, justify="right" if header in ("count", "weights") else "left")
    for row in _groups(plan, forecast):
        shapes = row["shape"].split(", ")
        shape = row["shape"] if len(shapes) <= MOST_SHAPES else f"{len(shapes)} shapes"
        sites.add_row(row["sites"], str(row["layers"]), shape, f"{row['weights']:,}", row["cache"])
    out.print(sites)
    for tower in plan.untouched_towers:
        out.print(f"The {tower} tower has no target: it is not edited.", style="yellow")
    memory = estimate.memory(plan)
    scores = f"{_size(memory['scores'])} for scores (one tower at a time), " if memory["scores"] else ""
    out.print(f"[bold]Memory[/bold] about {_size(memory['model'])} for the model, {scores}and one batch.")
    kept = {part.tower for part in forecast.parts if part.kind == "moments" and part.state() == "hit"}
    for tower in plan.towers:
        if tower in kept:
            out.print(f"The {tower} tower's statistics are in the cache.")
        elif passes := estimate.passes(plan, tower):
            times = "one pass" if passes == 1 else f"{passes} passes"
            held = _size(estimate.moments_memory(plan, tower))
            out.print(f"The {tower} tower's statistics take {times} over the data and {held} at a time.")
    _print_cache(forecast)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as one JSON object."""
    forecast = forecast_cache(plan)
    return {
        "schema": "editkit.plan/1",
        "recipe": plan.recipe.describe(),
        "recipe_digest": plan.recipe.digest,
        "origins": {path: origin for path, _, origin in _values(plan)},
        "model": {"source": plan.recipe.model, "family": plan.files.family},
        "notes": list(plan.files.notes),
        "data": None
        if plan.data is None
        else {"name": plan.data.name, "split": plan.data.split, "n": len(plan.data.items)},
        "sites": [{"site": site.name, "key": site.key, "shape": list(site.shape)} for site in plan.sites],
        "groups": _groups(plan, forecast),
        "not_edited": list(plan.untouched_towers),
        "memory": estimate.memory(plan),
        "passes": {tower: estimate.passes(plan, tower) for tower in plan.towers},
        "cache": _cache(forecast),
    }


def _cache(forecast: Forecast) -> dict[str, Any]:
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


def _print_cache(forecast: Forecast) -> None:
    if not forecast.adds:
        return
    kinds = dict.fromkeys(part.kind for part in forecast.parts if part.adds)
    sizes = {kind: sum(part.adds for part in forecast.parts if part.kind == kind) for kind in kinds}
    told = ", ".join(f"{size_text(size)} of {kind}" for kind, size in sizes.items())
    out.print(f"[bold]Cache[/bold]  A run would add {told}.")
    if forecast.adds + forecast.held > forecast.limit:
        out.print(
            f"The cache holds {size_text(forecast.held)} and may hold {size_text(forecast.limit)} "
            "(EDITKIT_CACHE_SIZE): what was used longest ago goes first.",
            style="yellow",
        )


def _groups(plan: Plan, forecast: Forecast) -> list[dict[str, Any]]:
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


def _values(plan: Plan) -> list[tuple[str, str, str]]:
    """List every resolved value with its origin; what the edited towers share is listed once."""
    recipe = plan.recipe.describe()
    shared = all(recipe[tower] == recipe[plan.towers[0]] for tower in plan.towers)
    found = []
    for path, value in recipe.items():
        if path not in TOWERS:
            found += _rows(plan, f"compute.{path}" if path in ("dtype", "autocast") else path, path, value)
    for tower in plan.towers[:1] if shared else plan.towers:
        for kind, value in recipe[tower].items():
            found += _rows(plan, f"{tower}.{kind}", kind if shared else f"{tower}.{kind}", value or {"name": "none"})
    return found


def _rows(plan: Plan, path: str, label: str, value: Any) -> list[tuple[str, str, str]]:
    """List what the recipe holds at `path`, under the name `label`; options that are not set are left out."""
    if not isinstance(value, dict):
        return [(label, _text(value), _origin(plan, path))]
    set_ones = {name: entry for name, entry in value.items() if entry is not None}
    return [(f"{label}.{name}", _text(entry), _origin(plan, f"{path}.{name}")) for name, entry in set_ones.items()]


def _origin(plan: Plan, path: str) -> str:
    """Say where a value came from; a tower has it from its own setting or from what both share."""
    origins = plan.recipe.origins
    tower, _, shared = path.partition(".")
    return origins.get(path) or (origins.get(shared) if tower in TOWERS else None) or "default"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count >= 2**20 else f"{count / 2**10:,.0f} KiB"
