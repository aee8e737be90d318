"""What chance would have done: as many weights per site as a patch changed, other ones, changed the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editkit.engine import manipulate, read_weight, select
from editkit.patch import Patch
from editkit.plan import Plan
from editkit.plugins import Host
from editkit.protocols import Adapter, ModelFiles
from editkit.recipe import resolve
from editkit.scoring import score_weights
from editkit.site import Site
from editkit.specs import ScorerSpec
from editkit.variants import Variant

SEEDS = (0, 1, 2)


def control_variants(patch: Patch, name: str, adapter: Adapter, files: ModelFiles, host: Host) -> list[Variant]:
    """Return `random` with three seeds and `magnitude`, matched to a patch by count per site and by manipulator.

    A patch without a record of its sites and recipe (made by other tools) has no matched controls: none are returned.
    """
    record = patch.record
    counts = {site["site"]: site["count"] for site in record.get("sites", [])}
    if not counts or "recipe" not in record:
        return []
    all_sites = adapter.sites(files)
    sites = [site for site in all_sites if site.name in counts]
    scorers: list[tuple[str, dict[str, Any]]] = [(f"random {seed}", {"name": "random", "seed": seed}) for seed in SEEDS]
    variants = []
    for label, scorer in [*scorers, ("magnitude", {"name": "magnitude"})]:
        plan = _control_plan(record["recipe"], scorer, counts, sites, all_sites, adapter, files, host)
        changes = {change.key: change for tower in plan.towers for change in _changes(plan, tower, scorer)}
        variants.append(Variant(label, changes, patch=name, is_control=True))
    return variants


def _changes(plan: Plan, tower: Any, scorer: Mapping[str, Any]) -> list[Any]:
    spec = plan.host.resolve(ScorerSpec, scorer["name"])
    options = {key: value for key, value in scorer.items() if key != "name"}
    weights = {site: read_weight(plan, site).float() for site in plan.sites_of(tower)}
    scored = score_weights({scorer["name"]: spec.load()(spec.options(**options))}, weights)
    return manipulate(plan, tower, select(plan, tower, scored))


def _control_plan(
    recipe: Mapping[str, Any],
    scorer: Mapping[str, Any],
    counts: Mapping[str, int],
    sites: Sequence[Site],
    all_sites: Sequence[Site],
    adapter: Adapter,
    files: ModelFiles,
    host: Host,
) -> Plan:
    layer: dict[str, Any] = {"model": files.source, "targets": [site.name for site in sites]}
    for tower in ("text", "vision"):
        layer |= {f"{tower}.scorer.{key}": value for key, value in scorer.items()}
        layer |= {f"{tower}.selector.name": "matched", f"{tower}.selector.counts": dict(counts)}
        layer |= {f"{tower}.manipulator.{key}": value for key, value in recipe[tower]["manipulator"].items()}
    data = {f"data.{key}": value for key, value in recipe["data"].items()}
    resolved = resolve([("control", layer | data)], host)
    return Plan(resolved, host, adapter, files, tuple(all_sites), tuple(sites), None)
