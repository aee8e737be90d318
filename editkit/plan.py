"""Recipe and model to a plan: which sites, which tuples, how much memory. No weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editkit.calibration import load_tuples, require_sides
from editkit.datasets.tuples import TupleSet
from editkit.errors import SiteError
from editkit.models import find_adapter
from editkit.plugins import Host
from editkit.protocols import Adapter, ModelFiles
from editkit.recipe import Choice, Layer, Recipe, resolve
from editkit.site import TOWERS, Site, Tower, match_targets
from editkit.specs import DatasetSpec, ScorerSpec

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SUMS = {"weights": 1, "inputs": 3, "gradients": 2}
"""Float32 matrices [O, I] per site that a scorer holds at its peak: its sums and the finished scores."""


@dataclass(frozen=True)
class Plan:
    """Everything an edit is about to do, resolved and checked."""

    recipe: Recipe
    host: Host
    adapter: Adapter
    files: ModelFiles
    all_sites: tuple[Site, ...]
    sites: tuple[Site, ...]
    data: TupleSet | None
    """The drawn calibration tuples; None where no scorer looks at data."""

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that are edited."""
        return tuple(tower for tower in TOWERS if any(site.tower == tower for site in self.sites))

    def sites_of(self, tower: Tower) -> list[Site]:
        """Return the sites of one tower, in the model's order."""
        return [site for site in self.sites if site.tower == tower]

    def scorer(self, tower: Tower) -> Choice | None:
        """Return the tower's scorer."""
        return self.recipe.towers[tower].scorer

    @property
    def untouched_towers(self) -> tuple[Tower, ...]:
        """Towers that the model has and no target names: they are not edited, and the report says so."""
        present = {site.tower for site in self.all_sites}
        return tuple(tower for tower in TOWERS if tower in present and tower not in self.towers)

    def memory(self) -> dict[str, int]:
        """Estimate bytes: the loaded model, and the scores' sums of the tower that needs most (one at a time)."""
        tensors = self.files.checkpoint.tensors.values()
        weights = sum(info.stop - info.start for info in tensors)
        model = sum(info.size for info in tensors) * BYTES[self.recipe.compute.dtype]
        sums = {
            tower: sum(site.size for site in self.sites_of(tower)) * 4 * SUMS[needs(self.scorer(tower))]
            for tower in self.towers
        }
        return {"checkpoint": weights, "model": model, "scores": max(sums.values(), default=0)}


def needs(scorer: Choice | None) -> str:
    """Return what a scorer needs: "weights", "inputs" or "gradients"; nothing is the same as weights."""
    return scorer.spec.needs if scorer is not None and isinstance(scorer.spec, ScorerSpec) else "weights"


def make_plan(layers: Sequence[tuple[str, Layer]], host: Host) -> Plan:
    """Resolve a recipe against a model and its data.

    Args:
        layers: `(origin, values)`, later ones winning: a recipe file, then flags.

    Raises:
        EditkitError: whatever is wrong with recipe, model, targets or data, before any weight is read.
    """
    first = resolve(layers, host)  # every option is checked before anything is opened
    spec = find_adapter(first.model, host)
    adapter: Adapter = spec.load()(spec.options())
    files = adapter.open(first.model)
    all_sites = adapter.sites(files)
    own: list[tuple[str, Layer]] = [
        ("data set", default_split(first.data, "edit")),
        ("adapter", {"targets": adapter.default_targets(files)}),
    ]
    recipe = resolve([*own, *layers], host)
    sites = match_targets(recipe.targets, all_sites)
    plan = Plan(recipe, host, adapter, files, tuple(all_sites), tuple(sites), None)
    for tower in plan.towers:  # what cannot be built must not be found out after an hour of scoring
        recipe.towers[tower].selector.build()
        recipe.towers[tower].manipulator.build()
    looking = [site for site in sites if needs(plan.scorer(site.tower)) != "weights"]
    for site in looking:
        if site.role == "proj" and needs(plan.scorer(site.tower)) == "inputs":
            raise SiteError(
                f"{site.name} sees one token per sample (the pooled output), so its inputs have no spread over tokens.",
                "Take it out of the targets, or score it by its weights (`magnitude`, `random`).",
            )
    if not looking:
        return plan
    data = load_tuples(recipe.data, recipe.calibration)
    require_sides(data, looking)
    return Plan(recipe, host, adapter, files, tuple(all_sites), tuple(sites), data)


def default_split(choice: Choice, purpose: str) -> Mapping[str, Any]:
    """Return the layer with the split that a data set uses for `purpose` ("edit", "sweep", "eval")."""
    splits = {"edit": "train", "sweep": "validation", "eval": "test"}
    own = dict(choice.spec.defaults) if isinstance(choice.spec, DatasetSpec) else {}
    return {"calibration.split": own.get(purpose, splits[purpose])}
