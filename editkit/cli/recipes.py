"""`editkit recipes list | show NAME`: the recipes that come with editkit, without importing torch."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from editkit.cli.console import emit_json, write_line
from editkit.cli.flags import Json

app = typer.Typer(help="List and show the recipes that come with editkit.", no_args_is_help=True)


@app.command("list")
def list_all(json: Json = False) -> None:
    """List every recipe with what it is, those of one table together."""
    from editkit.cli.table import print_table, prose, whole
    from editkit.recipes.catalogue import list_recipes

    recipes = list_recipes()
    if json:
        emit_json({"recipes": [{"name": recipe.name, "summary": recipe.summary} for recipe in recipes]})
        return
    rows: list[tuple[str, ...]] = []
    for _, group in groupby(recipes, key=lambda recipe: recipe.group):
        rows += [*((recipe.name, recipe.summary) for recipe in group), ()]
    print_table([whole(), prose()], rows)
    write_line("editkit recipes show NAME prints one, editkit edit --recipe NAME runs it.")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A recipe's name.")], json: Json = False) -> None:
    """Print a recipe's YAML, to run or to copy, and the command that runs it."""
    from editkit.recipes.catalogue import find_recipe
    from editkit.recipes.layers import read_recipe

    recipe = find_recipe(name)
    if json:
        emit_json({"name": name, "summary": recipe.summary, "values": read_recipe(recipe.path)})
        return
    print(recipe.text, end="")
    print(f"\n# Run it: editkit edit --recipe {name}")  # a comment, so that the output is a recipe as well
