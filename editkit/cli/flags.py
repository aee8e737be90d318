"""The flags that several commands share."""

from __future__ import annotations

from typing import Annotated

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


def words(text: str | None) -> tuple[str, ...] | None:
    """Read a list such as a,b; None stays None."""
    return None if text is None else tuple(part.strip() for part in text.split(","))
