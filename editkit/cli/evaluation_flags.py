"""The flags of `eval NAME`: those that its spec says it has use for, and one for each of its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from editkit.cli import flags
from editkit.cli.option_flags import OptionFlag, option_flags
from editkit.evals.companions import companions_of, embeds

if TYPE_CHECKING:
    from editkit.components.host import Host
    from editkit.components.specs import EvalSpec

_PREFIX = "option_"
"""Before the names of options, so that none is taken for the flag of another."""

Model = Annotated[
    str | None, typer.Option(help="Model folder, hub id or open_clip:NAME/TAG. [default: the patch's, or the demo]")
]
Patches = Annotated[
    list[Path] | None, typer.Option(help="A patch to measure beside the base; may be repeated.", parser=flags.path)
]
NoControls = Annotated[bool, typer.Option("--no-controls", help="Leave out the matched controls.")]
Controls = Annotated[
    bool, typer.Option("--controls", help="Also the matched controls: each takes as long as its patch.")
]
Knowledge = Annotated[str | None, typer.Option(help="Class set measured beside tuples: NAME[:PATH] or none.")]
Queries = Annotated[str | None, typer.Option(help="Queries that search the tuples: NAME[:PATH] or none.")]
Slices = Annotated[
    str | None, typer.Option(help="Tuples in slices: NAME[:PATH]. [default: the data's own, or those it names]")
]
BenignSets = Annotated[str | None, typer.Option(help="Class sets of benign images: NAME[:PATH], a,b or none.")]
Sets = Annotated[str | None, typer.Option(help="Zero-shot sets: a,b. [default: all that are there]")]
Profile = Annotated[str | None, typer.Option(help="Of zero-shot sets: uwm or clip-benchmark. [default: uwm]")]
Judges = Annotated[list[str] | None, typer.Option(help="A judge, with --set judge.NAME.OPTION=VALUE; may be repeated.")]
By = Annotated[str | None, typer.Option(help="concept: also a table by concept.")]
AllMetrics = Annotated[bool, typer.Option("--all-metrics", help="Changes of all metrics.")]
ReportFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="A new file for the report. [default: in editkit-runs]", parser=flags.path),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Folder of its files, where an earlier run is continued; by default below editkit-runs.",
        parser=flags.path,
    ),
]
Similarities = Annotated[
    Path | None,
    typer.Option(
        help="A new Parquet file: every tuple's similarities, hits and what else is known.", parser=flags.path
    ),
]


def parameters(spec: EvalSpec, host: Host) -> list[Parameter]:
    """Return what the command of an evaluation is called with, each with its flag."""
    shared = dict(_shared(spec, host))
    own = {_PREFIX + flag.name: flag.annotation for flag in flags_of_options(spec, host)}
    wanted = {"patch": Patches, "model": Model, "data": _data(spec), **own, **shared}
    made = [Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    switches = {name for name, annotation in wanted.items() if get_args(annotation)[0] is bool}
    for name, annotation in wanted.items():
        default = False if name in switches else None
        made.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return made


def _shared(spec: EvalSpec, host: Host) -> Iterator[tuple[str, Any]]:
    if spec.judges:
        yield "judge", Judges
    yield ("no_controls", NoControls) if spec.controls else ("controls", Controls)
    if spec.beside:
        yield "knowledge", Knowledge
    companions = companions_of(spec, host)
    if "queries" in companions:
        yield "queries", Queries
    if "slices" in companions:
        yield "slices", Slices
    if "benign" in companions:
        yield "benign_sets", BenignSets
    if spec.data == "classes":
        yield from (("sets", Sets), ("profile", Profile))
    if not spec.table:
        yield from (("by", By), ("every_metric", AllMetrics))
    yield "output", Folder if spec.folder else ReportFile
    if spec.form == "embeddings" and spec.data == "tuples":
        yield "similarities", Similarities
    yield from (("recipe", flags.RecipeFile), ("settings", flags.Settings), ("json", flags.Json))
    yield from (("limit", flags.Limit), ("concepts", flags.Concepts), ("split", flags.Split), ("seed", flags.Seed))
    yield "batch_size", _batch_size(spec)
    if embeds(spec):
        yield from (("workers", flags.Workers), ("autocast", flags.Autocast), ("no_cache", flags.NoCache))
    yield from (("device", flags.Device), ("dtype", flags.Dtype), ("on_bad_item", flags.OnBadItem))


def _data(spec: EvalSpec) -> Any:
    default = spec.recipe.get("data.name", "the demo's")
    return Annotated[str | None, typer.Option(help=f"Data set, NAME or NAME:PATH. [default: {default}]")]


def _batch_size(spec: EvalSpec) -> Any:
    default = spec.recipe.get("compute.batch_size", 32)
    return Annotated[int | None, typer.Option(help=f"Items per forward pass. [default: {default}]")]


def flags_of_options(spec: EvalSpec, host: Host) -> list[OptionFlag]:
    """Return the flags of an evaluation's options; `--set` alone sets one that has the name of another flag."""
    taken = {"patch", "model", "data", *(name for name, _ in _shared(spec, host))}
    return [flag for flag in option_flags(spec.options) if flag.name not in taken]


def options_given(spec: EvalSpec, given: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """Return the options that were given by flag, as a recipe layer."""
    typed = {flag: given.get(_PREFIX + flag.name) for flag in flags_of_options(spec, host)}
    return {f"{spec.name}.{flag.name}": flag.read(value) for flag, value in typed.items() if value is not None}
