"""Another model's tower in the place of a model's own: short for blending every tensor of the tower, amount 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editkit.components.site import TOWERS
from editkit.errors import RecipeError

FLAGS = {
    "scorer.name": "--scorer",
    "selector.name": "--selector",
    "manipulator.name": "--manipulator",
    "manipulator.alpha": "--alpha",
    "selector.tau": "--tau",
    "targets": "--target",
}
"""What says how to edit, by its path in a recipe: a swap leaves nothing of it open."""


def tower_swap(text: str | None, vision: str | None, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe layer that puts in the towers of other models; an empty one where none is given.

    Args:
        text: a folder or hub id; None: the model keeps its own text tower.
        vision: likewise.
        beside: the other flags that were given, by their paths.

    Raises:
        RecipeError: one of them says how to edit.
    """
    sources = {tower: source for tower, source in zip(TOWERS, (text, vision), strict=True) if source is not None}
    if not sources:
        return {}
    if clash := [flag for path, flag in FLAGS.items() if path in beside]:
        raise RecipeError(
            f"--{next(iter(sources))}-tower takes another model's tower as it is, so {clash[0]} would do nothing.",
            "Give one or the other; to edit the result, edit the model that --save writes.",
        )
    return {
        "manipulator.name": "blend",
        "manipulator.model": next(iter(sources.values())),  # of a tower that is not touched, too: it must have one
        **{f"{tower}.manipulator.model": source for tower, source in sources.items()},
        "targets": tuple(f"{tower}:all" for tower in sources),
    }
