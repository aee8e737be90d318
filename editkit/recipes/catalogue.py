"""The recipes that come with editkit: YAML files called by name, such as `uwm-released` or `paper/supp3-out-fc2`.

A name is the file's path below `recipes/named` without its suffix, its summary is the file's first line, a comment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editkit.errors import RecipeError, did_you_mean
from editkit.files.paths import user_path

FOLDER = Path(__file__).parent / "named"


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe that editkit brings along."""

    name: str
    path: Path

    @property
    def text(self) -> str:
        """The YAML, verbatim."""
        return self.path.read_text(encoding="utf-8")

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return self.text.partition("\n")[0].removeprefix("#").strip()

    @property
    def group(self) -> str:
        """What it is listed with: the part of the name before the first hyphen, a table of a paper."""
        return self.name.partition("-")[0]


def list_recipes() -> list[NamedRecipe]:
    """Return every recipe, editkit's own two first, then folder by folder, by name."""
    found = [NamedRecipe(path.relative_to(FOLDER).with_suffix("").as_posix(), path) for path in FOLDER.rglob("*.yaml")]
    return sorted(found, key=lambda recipe: ("/" in recipe.name, recipe.name))


def find_recipe(name: str) -> NamedRecipe:
    """Return the recipe of a name.

    Raises:
        RecipeError: there is none; names the closest.
    """
    known = {recipe.name: recipe for recipe in list_recipes()}
    if name not in known:
        raise RecipeError(
            f"There is no recipe '{name}'.{did_you_mean(name, known)}",
            "List the names with `editkit recipes list`, or give a YAML file.",
        )
    return known[name]


def recipe_file(recipe: str | Path) -> Path:
    """Return the file that `--recipe FILE|NAME` means; it need not exist if a file was meant.

    Raises:
        RecipeError: a name was meant, and no recipe has it.
    """
    return find_recipe(recipe).path if isinstance(recipe, str) and _is_name(recipe) else user_path(recipe)


def origin(recipe: str | Path) -> str:
    """Return what plans and records call the layer that `--recipe FILE|NAME` gives."""
    named = isinstance(recipe, str) and _is_name(recipe)
    return f"recipe {recipe}" if named else f"recipe file {Path(recipe).name}"


def _is_name(text: str) -> bool:
    """Say whether a text means a name: an existing file wins, and what looks like a path is one."""
    looks_like_a_path = text.startswith((".", "/", "~")) or Path(text).suffix in (".yml", ".yaml")
    return not looks_like_a_path and not Path(text).is_file()
