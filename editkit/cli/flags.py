"""The flags that several commands share, and how they become a layer of the recipe."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Annotated, Any

import typer

Model = Annotated[str | None, typer.Option(help="Model folder, hub id or open_clip:NAME/TAG. [default: the demo]")]
Data = Annotated[str | None, typer.Option(help="Data set, NAME or NAME:PATH. [default: the demo's]")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any recipe value: path=value.", metavar="PATH=VALUE")
]
RecipeFile = Annotated[
    str | None,
    typer.Option("--recipe", help="YAML file, or a name of `recipes list`; flags beat it.", metavar="FILE|NAME"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Limit = Annotated[int | None, typer.Option(help="Use at most this many items, drawn by --seed.")]
Concepts = Annotated[str | None, typer.Option(help="Only these concepts: a,b.")]
Split = Annotated[str | None, typer.Option(help="Split of the data set.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every draw. [default: 0]")]
BatchSize = Annotated[int | None, typer.Option(help="Items per forward pass. [default: 32]")]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images. [default: 2]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. [default: auto]")]
Dtype = Annotated[str | None, typer.Option(help="Of weights: float32, float16 or bfloat16. [default: float32]")]
Autocast = Annotated[
    str | None, typer.Option(help="Compute in float16 or bfloat16, with weights in float32. [default: none]")
]
Memory = Annotated[str | None, typer.Option(help="For statistics of sites, such as 8GB. [default: 4GB]")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache.")]
OnBadItem = Annotated[str | None, typer.Option(help="error or skip. [default: the data set's]")]


def plugin_files() -> str:
    """Return the `--plugin` flags of this process, each with a space behind it, for commands to type next."""
    from editkit.components.load import used_files

    return "".join(f"--plugin {quote(str(path))} " for path in used_files())


def layer(
    model: str | None,
    data: str | None,
    limit: int | None,
    concepts: str | None,
    split: str | None,
    seed: int | None,
    batch_size: int | None,
    workers: int | None,
    device: str | None,
    dtype: str | None,
    no_cache: bool,
    on_bad_item: str | None,
    autocast: str | None = None,
) -> dict[str, Any]:
    """Return the shared flags that were given as a recipe layer."""
    from editkit.recipes.layers import data_layer, given

    values: dict[str, Any] = {
        "model": model,
        **data_layer(data),
        "data.on_bad_item": on_bad_item,
        "calibration.limit": limit,
        "calibration.concepts": tuple(part.strip() for part in concepts.split(",")) if concepts else None,
        "calibration.split": split,
        "calibration.seed": seed,
        "compute.batch_size": batch_size,
        "compute.workers": workers,
        "compute.device": device,
        "compute.dtype": dtype,
        "compute.autocast": autocast,
        "compute.cache": False if no_cache else None,
    }
    return given(values)


def measure(record: Mapping[str, Any], patches: Sequence[str], *, model: str | None = None) -> str | None:
    """Return the command that evaluates patches of which one has this record; None: their model compares nothing."""
    if record.get("model", {}).get("no_joint_space"):
        return None
    words = [*(["--model", model] if model else []), *_data(record)]
    words += [word for patch in patches for word in ("--patch", patch)]
    return f"editkit {plugin_files()}eval safeground {shlex.join(words)}"


def _data(record: Mapping[str, Any]) -> list[str]:
    """Return the flags that name the data set, if it is not the default, and what was set of it."""
    chosen = dict(record.get("recipe", {}).get("data", {}))
    name, path = chosen.pop("name", "demo"), chosen.pop("path", None)
    named = [] if name == "demo" and path is None else ["--data", name if path is None else f"{name}:{path}"]
    return named + [word for option, value in chosen.items() for word in ("--set", f"data.{option}={value}")]
