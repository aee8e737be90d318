"""What is asked of an evaluation, and what of that are options of its own and of its judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editkit.components.host import Host
from editkit.components.specs import EvalSpec
from editkit.errors import RecipeError
from editkit.evals.companions import companions_of
from editkit.evals.judges.panel import ROOT
from editkit.files.outputs import check_new_file
from editkit.recipes.layers import Layer


@dataclass(frozen=True, kw_only=True)
class Request:
    """An evaluation by name, the recipe's layers, and what is no part of a recipe; None: what its spec says."""

    evaluation: str
    layers: Sequence[tuple[str, Layer]]
    """Of the recipe, later ones winning. They may set options of the evaluation, `NAME.OPTION`, and of its judges,
    `judge.LABEL.OPTION`."""
    patches: Sequence[Path] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the evaluation; they beat those in layers."""
    judges: Sequence[str] = ()
    """NAME or LABEL=NAME."""
    controls: bool | None = None
    knowledge: str | None = None
    """The class set measured beside tuples, NAME or NAME:PATH; None: the one that the data set names; "none": none."""
    queries: str | None = None
    """The queries that search tuples, NAME or NAME:PATH; None: those that the data set names; "none": none."""
    slices: str | None = None
    """The tuples whose slices are measured, NAME or NAME:PATH; None: the data's own, or those that it names."""
    benign: str | None = None
    """Class sets of benign images, NAME or NAME:PATH, several as a,b; None: those that the data set names."""
    similarities: Path | None = None
    """A new Parquet file for every tuple's similarities, hits and whatever else the evaluation says of it."""
    output: Path | None = None
    """A new file for the report; of an evaluation that keeps files of its own, their folder."""
    runs: Path
    """Where results go that no one gave a place."""


@dataclass(frozen=True)
class Settings:
    """Layers taken apart: the recipe's, the evaluation's options, and those of judges by `judge.LABEL.OPTION`."""

    recipe: Sequence[tuple[str, Layer]]
    options: Mapping[str, Any]
    judges: Mapping[str, Any]


def take_apart(spec: EvalSpec, asked: Request) -> Settings:
    """Return what the layers set, each part where it belongs."""
    options: dict[str, Any] = {}
    judges: dict[str, Any] = {}
    recipe: list[tuple[str, Layer]] = []
    for origin, layer in asked.layers:
        own = {path: value for path, value in layer.items() if path.startswith(f"{spec.name}.")}
        of_judges = {path: value for path, value in layer.items() if spec.judges and path.startswith(ROOT)}
        recipe.append((origin, {path: value for path, value in layer.items() if path not in own | of_judges}))
        options |= {path.removeprefix(f"{spec.name}."): value for path, value in own.items()}
        judges |= of_judges
    return Settings(recipe, _nested(options) | dict(asked.options), judges)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Put together options that are mappings, which layers hold by dotted path."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *stems, name = path.split(".")
        node = tree
        for stem in stems:
            node = node.setdefault(stem, {})
        node[name] = value
    return tree


def require_sense(spec: EvalSpec, asked: Request, host: Host) -> None:
    """Refuse what the evaluation would ignore, and files that are there already.

    Raises:
        RecipeError: similarities, companions or judges were asked of an evaluation that has no use for them.
        OutputError: a new file exists, or cannot be.
    """
    if asked.similarities is not None and (spec.form, spec.data) != ("embeddings", "tuples"):
        what = "labelled images" if spec.data == "classes" else "no embeddings"
        raise RecipeError(
            f"`{spec.name}` evaluates {what}, which have no four similarities.",
            "Leave out --similarities, or choose an evaluation of embeddings of tuples.",
        )
    if asked.knowledge not in (None, "none") and not takes_knowledge(spec, host):
        raise RecipeError(
            f"--knowledge {asked.knowledge}: no labelled images are measured beside `{spec.name}`.",
            "Leave out --knowledge.",
        )
    if asked.queries not in (None, "none") and "queries" not in companions_of(spec, host):
        raise RecipeError(f"--queries {asked.queries}: `{spec.name}` measures no queries.", "Leave out --queries.")
    if asked.slices is not None and "slices" not in companions_of(spec, host):
        raise RecipeError(f"--slices {asked.slices}: `{spec.name}` measures no slices.", "Leave out --slices.")
    if asked.benign not in (None, "none") and "benign" not in companions_of(spec, host):
        raise RecipeError(f"--benign-sets {asked.benign}: `{spec.name}` measures none.", "Leave out --benign-sets.")
    if asked.judges and not spec.judges:
        raise RecipeError(f"--judge {asked.judges[0]}: `{spec.name}` has nothing judged.", "Leave out --judge.")
    for file in (asked.similarities, None if spec.folder else asked.output):
        if file is not None:
            check_new_file(file)  # now, not after the work


def takes_knowledge(spec: EvalSpec, host: Host) -> bool:
    """Whether labelled images are measured beside an evaluation's tuples.

    Raises:
        PluginError: there is no such evaluation as the spec wants beside it.
    """
    return any(host.resolve(EvalSpec, one.evaluation).data == "classes" for one in spec.beside)
