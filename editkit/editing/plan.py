"""Recipe and model to a plan: which sites, which tuples, which components. No weight is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from torch import Tensor

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import TOWERS, WHOLE, Site, Tower, is_whole, match_targets, towers_of
from editkit.components.specs import ManipulatorSpec, ScorerSpec
from editkit.data.preserved import Preserved
from editkit.data.tuples import TupleSet
from editkit.editing.calibration import load_tuples, require_sides
from editkit.editing.preserve import load_preserved
from editkit.errors import RecipeError, SiteError
from editkit.files.bits import to_tensor
from editkit.models.compute import require_compute
from editkit.models.find import find_adapter, with_weights
from editkit.models.joint_space import require_joint_space
from editkit.models.other_checkpoint import OtherCheckpoint, same_architecture, same_tower
from editkit.models.site_tensors import weight_of
from editkit.models.whole import match_whole
from editkit.progress import Stage
from editkit.recipes.layers import Layer
from editkit.recipes.recipe import Recipe, default_split, resolve


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
    preserved: Preserved = field(default_factory=Preserved)
    """What the edit leaves as it is, as far as a tower that preserves sees it."""

    def __repr__(self) -> str:
        """Say what is edited, not how."""
        tuples = f", {len(self.data.items):,} tuples" if self.data is not None else ""
        return f"Plan({self.recipe.model}, {len(self.sites)} sites{tuples})"

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that are edited."""
        return towers_of(self.sites)

    def sites_of(self, tower: Tower) -> list[Site]:
        """Return the sites of one tower, in the model's order."""
        return [site for site in self.sites if site.tower == tower]

    def scorers(self, tower: Tower) -> dict[str, Choice]:
        """Return the tower's scorer as "scorer", and those its selector and manipulator ask for by their labels."""
        return self.recipe.towers[tower].scorers

    def manipulator_needs(self, tower: Tower) -> frozenset[str]:
        """Return the statistics that the tower's manipulator asks for."""
        return self.manipulator_spec(tower).needs

    def manipulator_spec(self, tower: Tower) -> ManipulatorSpec:
        """Return what the tower's manipulator says of itself."""
        return cast(ManipulatorSpec, self.recipe.towers[tower].manipulator.spec)

    def other_checkpoints(self, tower: Tower, stage: Stage | None = None) -> dict[str, OtherCheckpoint]:
        """Return the checkpoints that the tower's manipulator takes weights from, by their names.

        Args:
            stage: given, their weights are brought to this disk. None: only headers are read.

        Raises:
            ModelError: there is none of a name, or it is of another architecture.
        """
        whole = f"{tower}:all" in self.recipe.targets
        return {
            source: same_tower(source, tower, self.adapter, self.files, self.host, stage)
            if whole
            else same_architecture(source, self.files, self.host, stage)
            for source in self.recipe.towers[tower].sources
        }

    def is_sequential(self, tower: Tower) -> bool:
        """Whether each site is fitted on the model with the sites before it edited."""
        return self.recipe.towers[tower].sequential

    def pairs_anew(self, tower: Tower) -> bool:
        """Whether unsafe items of a tower are paired with the nearest safe ones, for the cross moments."""
        return self.recipe.towers[tower].twins == "nearest"

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
    family = find_adapter(first.model, host)
    adapter = host.adapter(family)
    files = adapter.open(first.model)
    all_sites = adapter.sites(files)
    own: list[tuple[str, Layer]] = [
        ("data set", default_split(first.data, "edit")),
        ("adapter", {"targets": adapter.default_targets(files), **family.recipe}),
        *_meant_for(first, adapter.default_targets(files), all_sites),
        *_preserving(first),
    ]
    recipe = resolve([*own, *layers], host, family.name)
    plan = _on_sites(Plan(recipe, host, adapter, files, tuple(all_sites), (), None))
    _require_sense(plan)
    looking = [towers for tower in plan.towers if (towers := looks_at(plan, tower))]
    if not looking:
        return plan
    data = load_tuples(recipe.data, recipe.calibration)
    require_sides(data, looking)
    preserving = [tower for tower in plan.towers if "preserved" in plan.manipulator_needs(tower)]
    return replace(plan, data=data, preserved=load_preserved(recipe, data, preserving, host))


def bring_weights(plan: Plan, stage: Stage) -> Plan:
    """Return a plan whose model's weights are on this disk: downloaded, or converted.

    Raises:
        EditkitError: the hub refuses, an archive holds anything but tensors, or no weights of this architecture.
    """
    if plan.files.checkpoint.pending is None:
        return plan
    files = with_weights(plan.files, stage)
    brought = _on_sites(replace(plan, files=files, all_sites=tuple(plan.adapter.sites(files))))
    _require_sense(brought)
    return brought


def _on_sites(plan: Plan) -> Plan:
    """Fill in the sites that the recipe's targets name."""
    targets = plan.recipe.targets
    if set(WHOLE) & set(targets):
        sites = match_whole(targets, plan.adapter, plan.files, plan.all_sites)
    else:
        sites = match_targets(targets, plan.all_sites)
    return _with_counterparts(replace(plan, sites=tuple(sites)))


def _with_counterparts(plan: Plan) -> Plan:
    """Leave out the tensors that another checkpoint is asked for and has no counterpart of: they stay as they are.

    Raises:
        ModelError: it does not fit.
    """
    others = {tower: plan.other_checkpoints(tower).values() for tower in plan.towers}
    sites = (site for site in plan.sites if all(site.key in other.keys for other in others[site.tower]))
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


def _preserving(recipe: Recipe) -> list[tuple[str, Layer]]:
    """Return the layer with what a tower's manipulator preserves by default, if it does."""
    for tower in TOWERS:
        spec = recipe.towers[tower].manipulator.spec
        if isinstance(spec, ManipulatorSpec) and spec.preserve:
            return [(f"implied by {spec.name}", {"preserve": spec.preserve})]
    return []


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
        RecipeError: a component does not serve whole tensors.
        ModelError: images and captions of the model cannot be compared, and a method compares them.
        EditkitError: a component cannot be built.
    """
    for tower in plan.towers:
        part = plan.recipe.towers[tower]
        for component in part.components:
            component.build()
        if across := plan.looks_across(tower):
            require_joint_space(plan.files, plan.all_sites, f"'{across}' compares images with captions")
        for site in plan.sites_of(tower):
            plan.manipulator_spec(tower).check_site(site, part.manipulator.options)
        for choice in plan.scorers(tower).values():
            for site in plan.sites_of(tower):
                if site.pooled and isinstance(choice.spec, ScorerSpec) and choice.spec.spread:
                    raise SiteError(
                        f"{site.name} sees one token per sample (a pooled output), so its inputs have no spread over "
                        f"tokens, which scorer '{choice.name}' needs.",
                        "Take it out of the targets, or score it by `wanda-ratio`, `gradient` or its weights.",
                    )
        looking = [choice.name for choice in plan.scorers(tower).values()]
        looking += [part.manipulator.name] if plan.manipulator_needs(tower) else []
        if is_whole(plan.recipe.targets) and looking:
            whole = "checkpoint" if "all" in plan.recipe.targets else f"{tower} tower"
            raise RecipeError(
                f"Target '{plan.recipe.targets[0]}' takes every tensor of the {whole}, most of which are no linear "
                f"maps: {looking[0]} has nothing to look at there.",
                "Use it with `blend` or `scale`, or name sites such as text:attn.out.",
            )
