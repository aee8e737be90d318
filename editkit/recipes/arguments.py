"""What decides an edit or an evaluation, by the names of the Python API's arguments and the command line's flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editkit.recipes.catalogue import origin
from editkit.recipes.layers import Layer, data_layer, flatten, given, read_recipe
from editkit.recipes.tower_swap import tower_swap

PATHS = {
    "model": "model",
    "targets": "targets",
    "preserve": "preserve",
    "scorer": "scorer.name",
    "selector": "selector.name",
    "tau": "selector.tau",
    "manipulator": "manipulator.name",
    "alpha": "manipulator.alpha",
    "on_bad_item": "data.on_bad_item",
    "sets": "data.sets",
    "profile": "data.profile",
    **{name: f"calibration.{name}" for name in ("limit", "concepts", "split", "seed")},
    **{name: f"compute.{name}" for name in ("batch_size", "workers", "device", "dtype", "autocast", "memory", "cache")},
}
"""Where in a recipe the value of an argument goes."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Everything that a caller can ask for by name; what is None was not given, and is left to the layers below."""

    recipe: str | Path | None = None
    """A YAML file, or as text the name of a recipe that editkit has."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Any recipe values, by dotted path or nested; they beat the arguments."""
    model: str | Path | None = None
    data: str | None = None
    """NAME, NAME:PATH, or the path of a table."""
    targets: Sequence[str] | None = None
    preserve: Sequence[str] | None = None
    """What an edit leaves as it is: data as NAME or NAME:PATH, "words", or "none"."""
    vision_tower: str | Path | None = None
    """Another model, whose vision tower takes this one's place."""
    text_tower: str | Path | None = None
    scorer: str | None = None
    selector: str | None = None
    tau: float | None = None
    manipulator: str | None = None
    alpha: float | None = None
    on_bad_item: str | None = None
    sets: Sequence[str] | None = None
    profile: str | None = None
    limit: int | None = None
    concepts: Sequence[str] | None = None
    split: str | None = None
    seed: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    device: str | None = None
    dtype: str | None = None
    autocast: str | None = None
    memory: str | None = None
    cache: bool | None = None

    def layers(self, *, called: str = "argument", settings_called: str = "settings") -> list[tuple[str, Layer]]:
        """Return `(origin, layer)` pairs, later ones winning: the recipe, the arguments, the settings.

        Args:
            called: what plans and records call the arguments.
            settings_called: what they call the settings.

        Raises:
            RecipeError: the recipe cannot be read, or another model's tower is asked for beside an edit of it.
        """
        own = given({path: _plain(getattr(self, name)) for name, path in PATHS.items()}) | data_layer(self.data)
        own |= tower_swap(_text(self.text_tower), _text(self.vision_tower), own)
        layers: list[tuple[str, Layer]] = [(called, own), (settings_called, flatten(self.settings))]
        return layers if self.recipe is None else [(origin(self.recipe), read_recipe(self.recipe)), *layers]


def _plain(value: Any) -> Any:
    """Return a value as recipes hold it: paths as text, lists as tuples; an empty list is no value."""
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float)) else tuple(value) or None


def _text(model: str | Path | None) -> str | None:
    return None if model is None else str(model)
