"""The list behind `benchmarks.methods`: every recipe in it is valid, and its rows can be told apart."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from editkit.components.load import default_host
from editkit.methods.manipulators.specs import MANIPULATORS
from editkit.methods.scorers.specs import SCORERS
from editkit.recipes.layers import flatten
from editkit.recipes.recipe import resolve

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.method_list import CONTROLS, SIZES, Block, all_blocks

BLOCKS = list(all_blocks())
MATCHED = [block for block in BLOCKS if block.is_matched]
ids = {"ids": lambda block: block.title}


@pytest.mark.parametrize("manipulator", ["negate", "zero"])
def test_every_recipe_is_valid(manipulator: str) -> None:
    for block in all_blocks(manipulator=manipulator):
        for method in block.methods:
            resolve([(method.name, flatten(method.recipe))], default_host())


@pytest.mark.parametrize("block", BLOCKS, **ids)
def test_no_two_rows_of_a_block_have_one_name_or_one_recipe(block: Block) -> None:
    names = Counter(method.name for method in block.methods)
    recipes = Counter(resolve([("", flatten(m.recipe))], default_host()).digest for m in block.methods)
    assert max(names.values()) == 1 and max(recipes.values()) == 1


@pytest.mark.parametrize("block", MATCHED, **ids)
def test_matched_rows_differ_in_their_scorer_alone(block: Block) -> None:
    rest = [{part: value for part, value in method.recipe.items() if part != "scorer"} for method in block.methods]
    assert all(one == rest[0] for one in rest)
    assert {method.name for method in block.methods if method.is_control} == set(CONTROLS)


def test_every_scorer_of_editkit_has_a_row_of_every_size() -> None:
    assert len(MATCHED) == len(SIZES)
    for block in MATCHED:
        assert {method.recipe["scorer"]["name"] for method in block.methods} == {spec.name for spec in SCORERS}


def test_every_manipulator_has_a_row_but_those_of_other_checkpoints_and_what_negate_and_zero_are() -> None:
    blocks = [block for manipulator in ("negate", "zero") for block in all_blocks(manipulator=manipulator)]
    used = {flatten(method.recipe)["manipulator.name"] for block in blocks for method in block.methods}
    assert {spec.name for spec in MANIPULATORS} - used == {"scale", "blend", "merge", "lora"}
