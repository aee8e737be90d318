"""The flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editkit.files.paths import user_path

Model = Annotated[str | None, typer.Option(help="Model folder, hub id or open_clip:NAME/TAG. [default: the demo]")]
Data = Annotated[str | None, typer.Option(help="Data set: NAME or NAME:PATH. [default: the demo's]")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Set any value of the recipe; may be repeated.", metavar="PATH=VALUE")
]
RecipeFile = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="YAML file, or a name that `recipes list` shows; flags override it.", metavar="FILE|NAME"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Limit = Annotated[int | None, typer.Option(help="Use at most this many items, drawn at random with --seed.")]
Concepts = Annotated[str | None, typer.Option(help="Only these concepts, separated by commas: a,b.")]
Split = Annotated[str | None, typer.Option(help="Which split of the data set to use.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random draw. [default: 0]")]
BatchSize = Annotated[int | None, typer.Option(help="Items per forward pass. [default: 32]")]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images. [default: 2]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps. [default: auto]")]
Dtype = Annotated[
    str | None, typer.Option(help="Precision of the weights: float32, float16 or bfloat16. [default: float32]")
]
Autocast = Annotated[
    str | None, typer.Option(help="Compute in float16 or bfloat16 while the weights stay in float32. [default: none]")
]
Memory = Annotated[str | None, typer.Option(help="Memory for the statistics of sites, such as 8GB. [default: 4GB]")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache.")]
OnBadItem = Annotated[
    str | None,
    typer.Option(help="What to do about an item that cannot be read: error or skip. [default: the data set's]"),
]


def path(text: str | Path) -> Path:
    """Read a path: the `parser` of every flag and argument that is one, since shells leave `--flag=~/x` alone."""
    return user_path(text)


def words(text: str | None) -> tuple[str, ...] | None:
    """Read a list such as a,b; None stays None."""
    return None if text is None else tuple(part.strip() for part in text.split(","))
