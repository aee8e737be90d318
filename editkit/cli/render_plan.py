"""A plan on the screen: the recipe and where each value came from, sites, data, memory, cache."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from editkit.cache import Cache, files_key, remembered_digests
from editkit.cli.console import out
from editkit.datasets.digests import file_key
from editkit.datasets.tuples import TupleSet
from editkit.engine import score_facts, score_key
from editkit.plan import Plan, needs
from editkit.site import Site, Tower


def print_plan(plan: Plan) -> None:
    """Print a plan; nothing has been read but headers, configuration and the list of tuples."""
    out.print("[bold]Recipe[/bold]")
    recipe = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("value", "", "from"):
        recipe.add_column(header)
    for path, value, origin in _values(plan):
        recipe.add_row(path, value, origin)
    out.print(recipe)
    out.print(f"\n[bold]Model[/bold] {plan.recipe.model} ({plan.files.family})")
    if plan.data is not None:
        out.print(f"[bold]Data[/bold]  {plan.data.name}/{plan.data.split}: {len(plan.data.items)} tuples")
    sites = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("sites", "layers", "shape", "weights", "scores cached"):
        sites.add_column(header, justify="right" if header in ("layers", "weights") else "left")
    for row in _groups(plan):
        sites.add_row(row["sites"], str(row["layers"]), row["shape"], f"{row['weights']:,}", row["cache"])
    out.print(sites)
    for tower in plan.untouched_towers:
        out.print(f"The {tower} tower has no target: it is not edited.", style="yellow")
    memory = plan.memory()
    out.print(
        f"[bold]Memory[/bold] about {_mib(memory['model'])} for the model, {_mib(memory['scores'])} for scores "
        "(one tower at a time), and one batch.",
    )


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as one JSON object."""
    return {
        "schema": "editkit.plan/1",
        "recipe": plan.recipe.describe(),
        "recipe_digest": plan.recipe.digest,
        "origins": {path: origin for path, _, origin in _values(plan)},
        "model": {"source": plan.recipe.model, "family": plan.files.family},
        "data": None
        if plan.data is None
        else {"name": plan.data.name, "split": plan.data.split, "n": len(plan.data.items)},
        "sites": [{"site": site.name, "key": site.key, "shape": list(site.shape)} for site in plan.sites],
        "groups": _groups(plan),
        "not_edited": list(plan.untouched_towers),
        "memory": plan.memory(),
    }


def cache_states(plan: Plan, tower: Tower, sites: list[Site]) -> str:
    """Return hit, miss or unknown: whether a run would find these scores in the cache.

    Only remembered digests are used, so a file that was never hashed as it now is makes the answer unknown.
    """
    choice = plan.scorer(tower)
    if choice is None or plan.data is None or needs(choice) == "weights":
        return "not needed"
    if not plan.recipe.compute.cache:
        return "off"
    known = remembered_digests()
    identity = known.get(files_key(plan.files.checkpoint))
    if identity is None or not _all_known(plan.data, known):
        return "unknown"
    facts = score_facts(plan, tower, identity, plan.data.fingerprint(known))
    cache = Cache("scores")
    return "hit" if all(cache.has(score_key(facts, choice, site)) for site in sites) else "miss"


def _all_known(data: TupleSet, known: dict[str, str]) -> bool:
    images = (image for item in data.items for image in (item.safe_image, item.unsafe_image))
    return all(file_key(image) in known for image in images if isinstance(image, Path))


def _groups(plan: Plan) -> list[dict[str, Any]]:
    rows = []
    for (tower, role), members in groupby(
        sorted(plan.sites, key=lambda site: (site.tower, site.role, site.layer)),
        key=lambda site: (site.tower, site.role),
    ):
        sites = list(members)
        shapes = {f"{site.shape[0]} x {site.shape[1]}" for site in sites}
        rows.append(
            {
                "sites": f"{tower}:{role}",
                "layers": len(sites),
                "shape": ", ".join(sorted(shapes)),
                "weights": sum(site.size for site in sites),
                "cache": cache_states(plan, tower, sites),
            }
        )
    return rows


def _values(plan: Plan) -> list[tuple[str, str, str]]:
    """List every resolved value with its origin; what both towers share is listed once."""
    recipe = plan.recipe.describe()
    found = []
    shared = recipe["text"] == recipe["vision"]
    tree = {key: value for key, value in recipe.items() if key not in ("text", "vision")}
    if shared:
        tree |= recipe["text"]
    else:
        tree |= {f"{tower}.{kind}": value for tower in ("text", "vision") for kind, value in recipe[tower].items()}
    for path, value in tree.items():
        if not isinstance(value, dict):
            origin = plan.recipe.origins.get("compute.dtype" if path == "dtype" else path, "default")
            found.append((path, _text(value), origin))
            continue
        for name, entry in value.items():
            if entry is not None:
                found.append((f"{path}.{name}", _text(entry), _origin(plan, f"{path}.{name}")))
    return found


def _origin(plan: Plan, path: str) -> str:
    origins = plan.recipe.origins
    return origins.get(path) or origins.get(path.removeprefix("text.").removeprefix("vision.")) or "default"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
