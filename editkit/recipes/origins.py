"""Every value of a resolved recipe and where it came from, as plans show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editkit.components.site import TOWERS, Tower
from editkit.recipes.recipe import Recipe

COMPUTE = ("dtype", "autocast")
"""What a record keeps of `compute`, without that name."""


@dataclass(frozen=True)
class Sourced:
    """A value, its dotted path, and the layer that it came from: "flag", "recipe file own.yaml", "default" ..."""

    path: str
    value: Any
    origin: str


def sourced_values(recipe: Recipe, towers: Sequence[Tower]) -> list[Sourced]:
    """Return every value that decides the edit of some towers; what the towers share is there once."""
    described = recipe.describe()
    shared = all(described[tower] == described[towers[0]] for tower in towers)
    found: list[Sourced] = []
    for path, value in described.items():
        if path not in TOWERS:
            found += _below(recipe, f"compute.{path}" if path in COMPUTE else path, path, value)
    for tower in towers[:1] if shared else towers:
        for kind, value in described[tower].items():
            label = kind if shared else f"{tower}.{kind}"
            found += _below(recipe, f"{tower}.{kind}", label, value or {"name": "none"})
    return found


def _below(recipe: Recipe, path: str, label: str, value: Any) -> Iterator[Sourced]:
    """Yield what is at `path` under the name `label`; options that are not set are left out."""
    if not isinstance(value, Mapping):
        yield Sourced(label, value, _origin(recipe, path))
        return
    for name, entry in value.items():
        if entry is not None:
            yield Sourced(f"{label}.{name}", entry, _origin(recipe, f"{path}.{name}"))


def _origin(recipe: Recipe, path: str) -> str:
    """Return where a value came from; a tower has it from its own setting or from what both share."""
    tower, _, shared = path.partition(".")
    own, both = recipe.origins.get(path), recipe.origins.get(shared) if tower in TOWERS else None
    return own or both or "default"
