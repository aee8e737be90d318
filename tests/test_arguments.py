"""What is asked for by name, as layers of a recipe: the same for the Python API's arguments and for flags."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from editkit.errors import RecipeError
from editkit.recipes.arguments import PATHS, Arguments

READ_OTHERWISE = {"recipe", "settings", "data", "vision_tower", "text_tower"}
"""Arguments that set more than one value, or another one than their own."""


def own(**given: Any) -> Any:
    """The layer that arguments alone make."""
    return Arguments(**given).layers()[0][1]


def test_every_argument_sets_a_value_of_the_recipe() -> None:
    assert {entry.name for entry in fields(Arguments)} == PATHS.keys() | READ_OTHERWISE
    for name, path in PATHS.items():
        assert own(**{name: 1}) == {path: 1}


def test_what_was_not_given_is_left_to_the_layers_below() -> None:
    assert own() == {} == own(targets=[], concepts=())
    assert own(cache=False, alpha=0, seed=0) == {
        "compute.cache": False,
        "manipulator.alpha": 0,
        "calibration.seed": 0,
    }


def test_paths_are_text_and_lists_are_tuples() -> None:
    assert own(model=Path("a/b"), targets=["text:attn.out"]) == {"model": "a/b", "targets": ("text:attn.out",)}


@pytest.mark.parametrize(
    ("data", "layer"),
    [
        ("visu", {"data.name": "visu"}),
        ("visu:a:b", {"data.name": "visu", "data.path": "a:b"}),
        ("t.csv", {"data.name": "pairs", "data.path": "t.csv"}),
    ],
)
def test_data_is_a_name_a_name_with_a_path_or_a_table(data: str, layer: dict[str, str]) -> None:
    assert own(data=data) == layer


def test_a_recipe_stands_below_the_arguments_and_settings_above_them() -> None:
    asked = Arguments(recipe="uwm-paper", tau=0.5, settings={"selector": {"tau": 0.7}})
    (recipe, arguments, settings) = asked.layers(called="flag", settings_called="--set")
    assert recipe[0] == "recipe uwm-paper" and recipe[1]["selector.tau"] == 0.02
    assert arguments == ("flag", {"selector.tau": 0.5})
    assert settings == ("--set", {"selector.tau": 0.7})


def test_another_models_tower_is_a_blend_of_it_all_and_is_refused_beside_an_edit() -> None:
    assert own(text_tower=Path("other")) == {
        "manipulator.name": "blend",
        "manipulator.model": "other",
        "text.manipulator.model": "other",
        "targets": ("text:all",),
    }
    with pytest.raises(RecipeError, match="--tau would do nothing"):
        own(text_tower="other", tau=0.1)
