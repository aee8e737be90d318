"""What an edit preserves: the data sets that its recipe names, or short prompts from its calibration captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.site import Tower
from editkit.components.specs import DatasetSpec
from editkit.data.classes import ClassSet
from editkit.data.preserved import Preserved, preserved_of
from editkit.data.short_prompts import short_prompts
from editkit.data.tuples import TupleSet
from editkit.errors import DataError
from editkit.recipes.recipe import Recipe, default_split


def load_preserved(recipe: Recipe, data: TupleSet, towers: Sequence[Tower], host: Host) -> Preserved:
    """Load what some towers are to preserve: at most `calibration.limit` texts, and as many images, of each source.

    Args:
        data: the calibration tuples.
        towers: those that are edited by a manipulator which preserves.

    Raises:
        DataError: a data set cannot be read, or what was asked for has nothing that these towers see.
    """
    found = Preserved()
    for choice in recipe.preserve.values():
        one = _words(data, recipe.data, host) if choice is None else _load(choice)
        found |= one.draw(recipe.calibration.limit, recipe.calibration.seed)
    seen = found.only(towers)
    if recipe.preserve and not seen and not recipe.origins.get("preserve", "").startswith("implied"):
        kinds = " or ".join({"text": "texts", "vision": "images"}[tower] for tower in towers)
        raise DataError(
            f"--preserve {', '.join(recipe.preserve)} gives no {kinds}, and nothing else is edited.",
            "Name data that have some, or give --preserve none.",
        )
    return seen


def _load(choice: Choice) -> Preserved:
    return preserved_of(choice.build().load(default_split(choice, "edit")["calibration.split"]))


def _words(data: TupleSet, choice: Choice, host: Host) -> Preserved:
    safe, unsafe = (
        [text for item in data.items if (text := getattr(item, side))] for side in ("safe_text", "unsafe_text")
    )
    return Preserved(tuple(short_prompts(safe, unsafe, _class_prompts(choice, host) if safe else ())))


def _class_prompts(choice: Choice, host: Host) -> Iterator[tuple[str, str]]:
    """Yield the names of the classes that the calibration data's own data set names, with each prompt of theirs."""
    name = choice.spec.knowledge if isinstance(choice.spec, DatasetSpec) else ""
    if not name:
        return
    classes = host.choose(DatasetSpec, name, {}, "knowledge").build().load("test")  # names and templates alone are used
    if isinstance(classes, ClassSet):
        several = len(classes.templates)
        for number, prompt in enumerate(classes.prompts()):
            yield classes.classes[number // several].replace("_", " "), prompt
