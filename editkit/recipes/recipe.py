"""A recipe: everything that decides an edit, resolved from layers and checked. Flags and YAML share this one schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import Field

from editkit.components.choice import Choice, validate_options
from editkit.components.host import Host
from editkit.components.site import TOWERS, Tower
from editkit.components.spec import Options
from editkit.components.specs import (
    DatasetOptions,
    DatasetSpec,
    ManipulatorSpec,
    ScorerSpec,
    SelectorSpec,
    Twins,
)
from editkit.errors import RecipeError, did_you_mean
from editkit.files.paths import source_path
from editkit.models.compute import Compute
from editkit.recipes.asked import MAIN, asked_scorers, asked_selectors
from editkit.recipes.combination import imply, require_sense, require_used
from editkit.recipes.layers import COMPONENTS, Layer, merge, of_family
from editkit.recipes.preserve import NONE, preserve_sources

NOT_ASKED_FOR = ("default", "adapter")
"""Origins of values that nobody chose: a component that makes them useless is no contradiction."""


class Calibration(Options):
    """Which tuples calibrate, and which of their tokens count."""

    split: str = "train"
    limit: int | None = Field(8192, ge=1)
    per_concept: int | None = Field(None, ge=1)
    concepts: tuple[str, ...] | None = None
    tokens: Literal["real", "released", "all"] = "real"
    seed: int = 0


@dataclass(frozen=True)
class TowerRecipe:
    """What is done to one tower, and what its components ask for."""

    scorer: Choice | None
    selector: Choice
    manipulator: Choice
    other_scorers: Mapping[str, Choice] = field(default_factory=dict)
    other_selectors: Mapping[str, Choice] = field(default_factory=dict)
    other_checkpoint: str | None = None
    other_checkpoints: tuple[str, ...] = ()
    sequential: bool = False
    """Whether each site is fitted on the model with the sites before it edited."""
    twins: Twins = "own"
    """Which safe item an unsafe one is paired with in the cross moments."""

    @property
    def scorers(self) -> dict[str, Choice]:
        """The tower's own scorer as "scorer", and those that its selector and manipulator ask for by their labels."""
        return ({MAIN: self.scorer} if self.scorer else {}) | dict(self.other_scorers)

    @property
    def sources(self) -> tuple[str, ...]:
        """Every checkpoint that the manipulator takes weights from."""
        return (*([self.other_checkpoint] if self.other_checkpoint is not None else []), *self.other_checkpoints)

    @property
    def components(self) -> list[Choice]:
        """Every component that the tower's edit builds."""
        return [*self.scorers.values(), self.selector, *self.other_selectors.values(), self.manipulator]


@dataclass(frozen=True)
class Recipe:
    """A whole recipe, every value resolved and valid."""

    model: str
    data: Choice
    targets: tuple[str, ...]
    calibration: Calibration
    compute: Compute
    towers: Mapping[Tower, TowerRecipe]
    origins: Mapping[str, str]
    """Dotted path -> where its value came from."""
    preserve: Mapping[str, Choice | None] = field(default_factory=dict)
    """What the edit leaves as it is, as the recipe names it, and the data set; None: words of the calibration data."""

    def describe(self) -> dict[str, Any]:
        """Return what defines the edit, as plain data: the record's `recipe`."""
        return {
            "model": self.model,
            # only what was set: the demo's folder is this machine's, and no part of what the edit is
            "data": {"name": self.data.name, **self.data.options.model_dump(mode="json", exclude_defaults=True)},
            "targets": list(self.targets),
            **({"preserve": list(self.preserve) or [NONE]} if _can_preserve(self.towers) else {}),
            "calibration": self.calibration.model_dump(mode="json"),
            **self.compute.precision,
            **{
                tower: {
                    "scorer": part.scorer.describe() if part.scorer else None,
                    "selector": part.selector.describe(),
                    "manipulator": part.manipulator.describe(),
                }
                for tower, part in self.towers.items()
            },
        }

    @property
    def skips_bad_items(self) -> bool:
        """Whether an image that cannot be decoded is left out and named, or stops the run."""
        assert isinstance(self.data.options, DatasetOptions)  # as every data set's are
        return self.data.options.on_bad_item == "skip"

    @property
    def digest(self) -> str:
        """Eight hex digits that name the recipe."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:8]


def resolve(layers: Sequence[tuple[str, Layer]], host: Host, family: str = "") -> Recipe:
    """Merge `(origin, layer)` pairs, later ones winning, and validate the result against the components' options.

    Args:
        family: of the model, where it is known: what layers say of it wins over what they say of all.

    Raises:
        RecipeError: an unknown path, or a value that its component does not accept.
        PluginError: an unknown component.
    """
    values, origins = merge(of_family(layers, family))
    return _build(values, origins, host)


def _build(values: dict[str, Any], origins: dict[str, str], host: Host) -> Recipe:
    roots = {"model", "targets", "preserve", "calibration", "compute", *COMPONENTS, *TOWERS}
    for path in values:
        root, dot, _ = path.partition(".")
        if root not in roots:
            raise RecipeError(
                f"A recipe has no '{path}'.{did_you_mean(root, roots)}", f"Its parts are: {', '.join(sorted(roots))}."
            )
        if bool(dot) == (
            root in ("model", "targets", "preserve")
        ):  # a value where parts are, or parts where a value is
            raise RecipeError(
                f"A recipe has no '{path}'.",
                f"'{root}' is a value of its own." if dot else f"Set one of its parts: {root}.NAME=VALUE.",
            )
        if root in TOWERS and path.split(".")[1] not in ("scorer", "selector", "manipulator"):
            raise RecipeError(
                f"'{path}' cannot be set for one tower.", "A tower has its own scorer, selector and manipulator only."
            )
    if not isinstance(values["model"], str):
        raise RecipeError(f"model = {values['model']!r}: this names no model.", "Write a folder, a hub id or a name.")
    targets = values.get("targets", ())
    if isinstance(targets, str):
        targets = (targets,)
    if not isinstance(targets, (list, tuple)) or not all(isinstance(target, str) for target in targets):
        raise RecipeError(f"targets = {targets!r}: this is no list of targets.", "Write targets: [text:attn.out].")
    known: list[Choice] = []
    towers = {tower: _tower(values, origins, tower, tuple(targets), host, known) for tower in TOWERS}
    preserve = preserve_sources(values.get("preserve"), host, values.get("data.on_bad_item"))
    if preserve and not _can_preserve(towers):
        names = " and ".join(dict.fromkeys(f"'{part.manipulator.name}'" for part in towers.values()))
        raise RecipeError(
            f"preserve = {', '.join(preserve)} would do nothing: manipulator {names} fits to nothing that should stay.",
            "Leave it out, or use a manipulator that preserves, such as redirect or refuse.",
        )
    return Recipe(
        model=source_path(values["model"]),
        data=_choose("data", values, host),
        targets=tuple(targets),
        calibration=validate_options(Calibration, _below(values, "calibration"), "calibration"),
        compute=validate_options(Compute, _below(values, "compute"), "compute"),
        towers=towers,
        origins=origins,
        preserve=preserve,
    )


def _can_preserve(towers: Mapping[Tower, TowerRecipe]) -> bool:
    specs = (cast(ManipulatorSpec, part.manipulator.spec) for part in towers.values())
    return any("preserved" in spec.needs for spec in specs)


def _tower(
    values: Layer, origins: dict[str, str], tower: Tower, targets: tuple[str, ...], host: Host, known: list[Choice]
) -> TowerRecipe:
    """Resolve one tower's part; what equals a component in `known` is that very one, which is built once."""
    whole, own = _for_tower(values, tower), _below(values, tower)
    shared = [path for path in values if origins.get(path) not in NOT_ASKED_FOR]
    implied = imply(whole, own, shared, targets, host)
    if "manipulator.name" in own:  # what it implies is this tower's alone: shared options belong to the other one
        whole = {path: value for path, value in whole.items() if path in own or path.split(".")[0] not in implied}
    for path in [path for path in whole if path.split(".")[0] in implied and origins.get(path) in NOT_ASKED_FOR]:
        del whole[path]
    require_used(tower, whole, implied, host)
    for kind, (name, reason) in implied.items():
        whole[f"{kind}.name"] = name
        origins[f"{tower}.{kind}.name"] = f"implied by {reason}"
    scorer = None if whole["scorer.name"] == "none" else _once(_choose("scorer", whole, host), known)
    selector, manipulator = (_once(_choose(kind, whole, host), known) for kind in ("selector", "manipulator"))
    require_sense(
        tower,
        cast(ScorerSpec, scorer.spec) if scorer else None,
        cast(SelectorSpec, selector.spec),
        cast(ManipulatorSpec, manipulator.spec),
        selector.asks("axis"),
    )
    others, selectors = asked_scorers([selector, manipulator], host), asked_selectors(selector, host)
    return TowerRecipe(
        scorer,
        selector,
        manipulator,
        other_scorers={label: _once(choice, known) for label, choice in others.items()},
        other_selectors={label: _once(choice, known) for label, choice in selectors.items()},
        other_checkpoint=manipulator.asks("other_checkpoint"),
        other_checkpoints=manipulator.asks("other_checkpoints"),
        sequential=manipulator.asks("sequential"),
        twins=manipulator.asks("twins"),
    )


def _once(choice: Choice, known: list[Choice]) -> Choice:
    if choice not in known:
        known.append(choice)
    return known[known.index(choice)]


def _for_tower(values: Layer, tower: Tower) -> dict[str, Any]:
    shared = {path: value for path, value in values.items() if path.split(".")[0] in COMPONENTS}
    own = _below(values, tower)
    for path, name in own.items():
        if path.endswith(".name") and shared.get(path) != name:
            shared = {known: value for known, value in shared.items() if not known.startswith(path[:-4])}
    return shared | own


def _below(values: Layer, stem: str) -> dict[str, Any]:
    return {path.removeprefix(f"{stem}."): value for path, value in values.items() if path.startswith(f"{stem}.")}


def _choose(kind: str, values: Layer, host: Host) -> Choice:
    given = _below(values, kind)
    return host.choose(COMPONENTS[kind], str(given.pop("name")), given, kind)


def default_split(choice: Choice, purpose: str) -> Mapping[str, Any]:
    """Return the layer with the split that a data set uses for `purpose` ("edit", "sweep", "eval")."""
    splits = {"edit": "train", "sweep": "validation", "eval": "test"}
    own = dict(choice.spec.defaults) if isinstance(choice.spec, DatasetSpec) else {}
    return {"calibration.split": own.get(purpose, splits[purpose])}
