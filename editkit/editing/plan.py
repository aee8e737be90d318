"""Recipe and model to a plan: which sites, which tuples, how much memory. No weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from editkit.components.choice import Choice, validate_options
from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import TOWERS, WHOLE, Site, Tower, is_whole, match_targets, towers_of
from editkit.components.specs import ManipulatorSpec, ScorerSpec
from editkit.data.tuples import TupleSet
from editkit.editing.calibration import load_tuples, require_sides
from editkit.editing.moments import memory_of
from editkit.errors import RecipeError, SiteError
from editkit.files.bits import to_tensor
from editkit.models.compute import require_compute
from editkit.models.find import open_model
from editkit.models.joint_space import require_joint_space
from editkit.models.other_checkpoint import OtherCheckpoint, same_architecture, same_tower
from editkit.models.site_tensors import weight_of
from editkit.models.whole import match_whole
from editkit.recipes.layers import Layer
from editkit.recipes.recipe import Recipe, default_split, resolve

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SUMS = {"weights": 1, "inputs": 3, "gradients": 4, "sample-gradients": 5}
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
        return towers_of(self.sites)

    def sites_of(self, tower: Tower) -> list[Site]:
        """Return the sites of one tower, in the model's order."""
        return [site for site in self.sites if site.tower == tower]

    def scorers(self, tower: Tower) -> dict[str, Choice]:
        """Return the tower's scorer as "scorer", and those its selector and manipulator ask for by their labels."""
        part = self.recipe.towers[tower]
        wanted = {"scorer": part.scorer} if part.scorer else {}
        for component in (part.selector.build(), part.manipulator.build()):
            for label, asked in getattr(component, "other_scorers", {}).items():
                spec = self.host.resolve(ScorerSpec, asked["name"])
                given = {name: value for name, value in asked.items() if name != "name"}
                wanted[label] = Choice(spec.name, spec, validate_options(spec.options, given, f"scorer {spec.name}"))
        return wanted

    def manipulator_needs(self, tower: Tower) -> frozenset[str]:
        """Return the statistics that the tower's manipulator asks for."""
        spec = self.recipe.towers[tower].manipulator.spec
        return frozenset(spec.needs) if isinstance(spec, ManipulatorSpec) else frozenset()

    def other_checkpoint(self, tower: Tower) -> OtherCheckpoint | None:
        """Return the checkpoint that the tower's manipulator takes weights from, if it does.

        Raises:
            ModelError: there is none, or it is of another architecture.
        """
        source = getattr(self.recipe.towers[tower].manipulator.build(), "other_checkpoint", None)
        if source is None:
            return None
        if f"{tower}:all" in self.recipe.targets:
            return same_tower(source, tower, self.adapter, self.files, self.host)
        return same_architecture(source, self.files, self.host)

    def is_sequential(self, tower: Tower) -> bool:
        """Whether each site is fitted on the model with the sites before it edited."""
        return bool(getattr(self.recipe.towers[tower].manipulator.build(), "sequential", False))

    def groups(self, tower: Tower, sites: Sequence[Site]) -> list[list[Site]]:
        """Return the sites in the groups whose statistics are taken together: one pass over the data for each."""
        if not self._streams_moments(tower):
            return [list(sites)]
        if self.is_sequential(tower):
            return [[site] for site in sites]
        groups: list[list[Site]] = []
        free = 0
        for site in sites:
            size = self._moments_size(site)
            if size > free or not groups:  # a site too large for the memory is alone in its group
                groups.append([])
                free = int(self.recipe.compute.memory)
            groups[-1].append(site)
            free -= size
        return groups

    @property
    def seen_towers(self) -> tuple[Tower, ...]:
        """The towers that have to be loaded: the edited ones, and both where a method looks across."""
        return TOWERS if any(self.looks_across(tower) for tower in self.towers) else self.towers

    def looks_across(self, tower: Tower) -> str:
        """Return the component of a tower that looks at the other tower's embeddings too; empty where none does."""
        for choice in self.scorers(tower).values():
            if needs(choice).endswith("gradients"):
                return choice.name
        projects = any(site.role == "proj" for site in self.sites_of(tower))
        return (
            self.recipe.towers[tower].manipulator.name
            if (projects and "embeddings" in self.manipulator_needs(tower))
            else ""
        )

    @property
    def untouched_towers(self) -> tuple[Tower, ...]:
        """Towers that the model has and no target names: they are not edited, and the report says so."""
        return tuple(tower for tower in towers_of(self.all_sites) if tower not in self.towers)

    def memory(self) -> dict[str, int]:
        """Estimate bytes: the loaded towers, and the scores' sums of the tower that needs most (one at a time)."""
        tensors = self.files.checkpoint.tensors
        weights = sum(info.stop - info.start for info in tensors.values())
        held = {key for tower in self.seen_towers for key in self.adapter.tensors(self.files, tower).values()}
        model = sum(tensors[key].size for key in held) * BYTES[self.recipe.compute.dtype]
        sums = {
            tower: sum(
                sum(site.size for site in self.sites_of(tower)) * 4 * SUMS[needs(choice)]
                for choice in self.scorers(tower).values()
            )
            for tower in self.towers
        }
        estimate = {"checkpoint": weights, "model": model, "scores": max(sums.values(), default=0)}
        moments = max((self.moments_memory(tower) for tower in self.towers), default=0)
        return estimate | ({"moments": moments} if moments else {})

    def moments_memory(self, tower: Tower) -> int:
        """Return how many bytes the statistics of a tower's largest group of sites take; 0 where there are none."""
        if not self._streams_moments(tower):
            return 0
        groups = self.groups(tower, self.sites_of(tower))
        return max(sum(self._moments_size(site) for site in group) for group in groups)

    def passes(self, tower: Tower) -> int:
        """Return how often the calibration data run through a tower for the moments that its manipulator needs."""
        return len(self.groups(tower, self.sites_of(tower))) if self._streams_moments(tower) else 0

    def _streams_moments(self, tower: Tower) -> bool:
        return bool(self.manipulator_needs(tower) & {"mean-inputs", "second-moments"})

    def _moments_size(self, site: Site) -> int:
        return memory_of(site, second="second-moments" in self.manipulator_needs(site.tower))


def needs(scorer: Choice) -> str:
    """Return what a scorer needs: "weights", "inputs", "gradients" or "sample-gradients"."""
    return scorer.spec.needs if isinstance(scorer.spec, ScorerSpec) else "weights"


def read_weight(plan: Plan, site: Site) -> Tensor:
    """Return a site's weight [O, I] as the checkpoint stores it."""
    checkpoint = plan.files.checkpoint
    return weight_of(to_tensor(checkpoint.read(site.key), checkpoint.info(site.key).dtype, site.key), site)


def make_plan(layers: Sequence[tuple[str, Layer]], host: Host) -> Plan:
    """Resolve a recipe against a model and its data.

    Args:
        layers: `(origin, values)`, later ones winning: a recipe file, then flags.

    Raises:
        EditkitError: whatever is wrong with recipe, model, targets or data, before any weight is read.
    """
    first = resolve(layers, host)  # every option is checked before anything is opened
    require_compute(first.compute)
    adapter, files = open_model(first.model, host)
    all_sites = adapter.sites(files)
    own: list[tuple[str, Layer]] = [
        ("data set", default_split(first.data, "edit")),
        ("adapter", {"targets": adapter.default_targets(files), **_settings(adapter, files)}),
        *_meant_for(first, adapter.default_targets(files), all_sites),
    ]
    recipe = resolve([*own, *layers], host)
    if set(WHOLE) & set(recipe.targets):
        sites = match_whole(recipe.targets, adapter, files, all_sites)
    else:
        sites = match_targets(recipe.targets, all_sites)
    plan = _with_counterparts(Plan(recipe, host, adapter, files, tuple(all_sites), tuple(sites), None))
    _require_sense(plan)
    looking = [towers for tower in plan.towers if (towers := looks_at(plan, tower))]
    if not looking:
        return plan
    data = load_tuples(recipe.data, recipe.calibration)
    require_sides(data, looking)
    return replace(plan, data=data)


def _with_counterparts(plan: Plan) -> Plan:
    """Leave out the tensors that another checkpoint is asked for and has no counterpart of: they stay as they are.

    Raises:
        ModelError: it does not fit.
    """
    others = {tower: plan.other_checkpoint(tower) for tower in plan.towers}
    sites = (site for site in plan.sites if (other := others[site.tower]) is None or site.key in other.keys)
    return replace(plan, sites=tuple(sites))


def _meant_for(recipe: Recipe, targets: Sequence[str], sites: Sequence[Site]) -> list[tuple[str, Layer]]:
    """Return the layer with the default targets that the towers' manipulators are meant for, if they say so."""
    chosen = list(targets)
    implied = ""
    for tower in TOWERS:
        spec = recipe.towers[tower].manipulator.spec
        role = spec.role if isinstance(spec, ManipulatorSpec) else ""
        if role and any((site.tower, site.role) == (tower, role) for site in sites):
            chosen = [target for target in chosen if not target.startswith(f"{tower}:")] + [f"{tower}:{role}"]
            implied = f"implied by {spec.name}"
    return [(implied, {"targets": tuple(chosen)})] if implied else []


def looks_at(plan: Plan, tower: Tower) -> tuple[Tower, ...]:
    """Return the towers whose items the edit of one tower needs."""
    if plan.looks_across(tower):
        return TOWERS
    wanted = {needs(choice) for choice in plan.scorers(tower).values()}
    return (tower,) if "inputs" in wanted or plan.manipulator_needs(tower) else ()


def _require_sense(plan: Plan) -> None:
    """Check what would otherwise be found out after an hour of scoring.

    Raises:
        SiteError: a scorer needs a spread over tokens where a site sees one token.
        RecipeError: a component cannot be built, or does not serve whole tensors.
        ModelError: images and captions of the model cannot be compared, and a method compares them.
    """
    for tower in plan.towers:
        if across := plan.looks_across(tower):
            require_joint_space(plan.files, plan.all_sites, f"'{across}' compares images with captions")
        check = getattr(plan.recipe.towers[tower].manipulator.build(), "check", lambda site: None)
        for site in plan.sites_of(tower):
            check(site)
        for choice in plan.scorers(tower).values():
            for site in plan.sites_of(tower):
                if site.pooled and isinstance(choice.spec, ScorerSpec) and choice.spec.spread:
                    raise SiteError(
                        f"{site.name} sees one token per sample (a pooled output), so its inputs have no spread over "
                        f"tokens, which scorer '{choice.name}' needs.",
                        "Take it out of the targets, or score it by `wanda-ratio`, `gradient` or its weights.",
                    )
        looking = [choice.name for choice in plan.scorers(tower).values()]
        looking += [plan.recipe.towers[tower].manipulator.name] if plan.manipulator_needs(tower) else []
        if is_whole(plan.recipe.targets) and looking:
            whole = "checkpoint" if "all" in plan.recipe.targets else f"{tower} tower"
            raise RecipeError(
                f"Target '{plan.recipe.targets[0]}' takes every tensor of the {whole}, most of which are no linear "
                f"maps: {looking[0]} has nothing to look at there.",
                "Use it with `blend` or `scale`, or name sites such as text:attn.out.",
            )


def _settings(adapter: Adapter, files: ModelFiles) -> Mapping[str, Any]:
    return getattr(adapter, "default_settings", lambda files: {})(files)
