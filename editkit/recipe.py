"""A recipe: everything that decides an edit, resolved from layers and checked. Flags and YAML share this one schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ByteSize, Field, ValidationError, model_validator

from editkit.combination import imply, require_sense, require_used
from editkit.errors import RecipeError, did_you_mean
from editkit.layers import COMPONENTS, Layer, merge
from editkit.plugins import Host
from editkit.site import TOWERS, Tower
from editkit.specs import ManipulatorSpec, Options, ScorerSpec, SelectorSpec, Spec

NOT_ASKED_FOR = ("default", "adapter")
"""Origins of values that nobody chose: a component that makes them useless is no contradiction."""
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Calibration(Options):
    """Which tuples calibrate, and which of their tokens count."""

    split: str = "train"
    limit: int | None = Field(8192, ge=1)
    per_concept: int | None = Field(None, ge=1)
    concepts: tuple[str, ...] | None = None
    tokens: Literal["real", "released", "all"] = "real"
    seed: int = 0


class Compute(Options):
    """How to compute; none of it is part of what an edit is, but for its `precision`."""

    device: str = "auto"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    autocast: Literal["none", "float16", "bfloat16"] = "none"
    batch_size: int = Field(32, ge=1)
    workers: int = Field(2, ge=0)
    cache: bool = True
    memory: ByteSize = Field(
        ByteSize(4 * 10**9), description="for statistics of sites, such as 8GB", validate_default=True
    )

    @model_validator(mode="after")
    def _autocast_starts_from_float32(self) -> Compute:
        if self.autocast != "none" and self.dtype != "float32":
            raise ValueError(
                f"autocast {self.autocast} is for weights in float32, but dtype is {self.dtype}; give one of the two"
            )
        return self

    @property
    def precision(self) -> dict[str, str]:
        """What the numbers of a result depend on: the weights' dtype, and what they are computed in if that differs."""
        weights: dict[str, str] = {"dtype": self.dtype}
        return weights if self.autocast == "none" else {**weights, "autocast": self.autocast}


@dataclass(frozen=True)
class Choice:
    """A component chosen by name, with its validated options."""

    name: str
    spec: Spec
    options: Options

    def build(self) -> Any:
        """Import the component and construct it with its options."""
        return self.spec.load()(self.options)

    def describe(self) -> dict[str, Any]:
        """Return the choice as it stands in records: the name, then every option."""
        return {"name": self.name, **self.options.model_dump(mode="json")}


@dataclass(frozen=True)
class TowerRecipe:
    """What is done to one tower."""

    scorer: Choice | None
    selector: Choice
    manipulator: Choice


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

    def describe(self) -> dict[str, Any]:
        """Return what defines the edit, as plain data: the record's `recipe`."""
        return {
            "model": self.model,
            # only what was set: the demo's folder is this machine's, and no part of what the edit is
            "data": {"name": self.data.name, **self.data.options.model_dump(mode="json", exclude_defaults=True)},
            "targets": list(self.targets),
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
        return getattr(self.data.options, "on_bad_item", "error") == "skip"

    @property
    def digest(self) -> str:
        """Eight hex digits that name the recipe."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:8]


def resolve(layers: Sequence[tuple[str, Layer]], host: Host) -> Recipe:
    """Merge `(origin, layer)` pairs, later ones winning, and validate the result against the components' options.

    Raises:
        RecipeError: an unknown path, or a value that its component does not accept.
        PluginError: an unknown component.
    """
    values, origins = merge(layers)
    return _build(values, origins, host)


def _build(values: dict[str, Any], origins: dict[str, str], host: Host) -> Recipe:
    roots = {"model", "targets", "calibration", "compute", *COMPONENTS, *TOWERS}
    for path in values:
        root, dot, _ = path.partition(".")
        if root not in roots:
            raise RecipeError(
                f"A recipe has no '{path}'.{did_you_mean(root, roots)}", f"Its parts are: {', '.join(sorted(roots))}."
            )
        if bool(dot) == (root in ("model", "targets")):  # a value where parts are, or parts where a value is
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
    towers = {tower: _tower(values, origins, tower, tuple(targets), host) for tower in TOWERS}
    return Recipe(
        model=values["model"],
        data=_choose("data", values, host),
        targets=tuple(targets),
        calibration=validate_options(Calibration, _below(values, "calibration"), "calibration"),
        compute=validate_options(Compute, _below(values, "compute"), "compute"),
        towers=towers,
        origins=origins,
    )


def _tower(values: Layer, origins: dict[str, str], tower: Tower, targets: tuple[str, ...], host: Host) -> TowerRecipe:
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
    scorer = None if whole["scorer.name"] == "none" else _choose("scorer", whole, host)
    selector, manipulator = _choose("selector", whole, host), _choose("manipulator", whole, host)
    require_sense(
        tower,
        cast(ScorerSpec, scorer.spec) if scorer else None,
        cast(SelectorSpec, selector.spec),
        cast(ManipulatorSpec, manipulator.spec),
        getattr(selector.options, "axis", None),
    )
    return TowerRecipe(scorer, selector, manipulator)


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
    name = str(given.pop("name"))
    spec = host.resolve(COMPONENTS[kind], name)
    return Choice(name, spec, validate_options(spec.options, given, kind))


def validate_options(model: type[AnyModel], given: Mapping[str, Any], where: str) -> AnyModel:
    """Build a component's options from what was given; `where` is the recipe's path to them.

    Raises:
        RecipeError: an unknown option, or a value that is not accepted.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"][:1]))
        if first["type"] == "extra_forbidden":
            problem = f"{path} is not an option here.{did_you_mean(str(first['loc'][0]), model.model_fields)}"
        elif first["type"] == "missing":
            problem = f"{path} has to be given."
        else:
            value = f" = {first['input']!r}" if first["loc"] else ""
            problem = f"{path}{value}: {first['msg'].removeprefix('Value error, ')}."
        raise RecipeError(problem, f"Options: {describe_options(model) or 'none'}.") from error


def describe_options(model: type[BaseModel]) -> str:
    """List a model's fields with their defaults on one line."""
    return ", ".join(
        name if field.is_required() else f"{name} ({field.get_default()})" for name, field in model.model_fields.items()
    )
