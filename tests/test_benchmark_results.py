"""The page of all methods: its candidates are valid, its choice and its front are those that it says."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from editkit.components.load import default_host
from editkit.methods.manipulators.specs import MANIPULATORS
from editkit.methods.scorers.specs import SCORERS
from editkit.recipes.layers import flatten
from editkit.recipes.recipe import resolve

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.results.candidates import Candidate, candidates
from benchmarks.results.choose import KNOWLEDGE, Tried, best_of_families, kept
from benchmarks.results.measure import SHORT, UNSEEN, Measured, front, goals

ALL = list(candidates())
FLAGGED = ("benign captions flagged", "benign images flagged")


def parts(candidate: Candidate) -> dict[str, Any]:
    return flatten(candidate.recipe)


def test_no_two_candidates_have_one_name_or_one_recipe() -> None:
    names = Counter(one.name for one in ALL)
    # what the default refuse preserves is added once the model is known, so it is left out here
    recipes = Counter(resolve([("", parts(one))], default_host()).digest for one in ALL if one.name != "refuse")
    assert max(names.values()) == max(recipes.values()) == 1


def test_every_scorer_and_manipulator_is_a_candidate_but_those_that_need_more_than_one_checkpoint() -> None:
    assert {parts(one).get("scorer.name") for one in ALL} >= {spec.name for spec in SCORERS}
    used = {parts(one)["manipulator.name"] for one in ALL}
    assert {spec.name for spec in MANIPULATORS} - used == {"scale", "blend", "merge", "lora"}


def tried(family: str, name: str, gs: float, kept: float, rise: float) -> Tried:
    return Tried(Candidate(family, name, {}), Path(name), gs, kept, rise)


def test_the_highest_gs_is_chosen_among_those_that_keep_enough() -> None:
    chosen = best_of_families(
        [
            tried("a", "costly", 90, 0.9, 0.0),
            tried("a", "exposing", 80, 1.0, 2.0),
            tried("a", "good", 50, 0.97, 1.0),
            tried("a", "weak", 40, 1.0, 0.0),
            tried("b", "bad", 50, 0.5, 0.0),
            tried("b", "less bad", 10, 0.8, 0.0),
        ]
    )
    assert [one.candidate.name for one in chosen] == ["good", "less bad"]


def rates(**values: float) -> dict[str, Any]:
    return {name: {"value": value, "low": value, "high": value, "n": 100} for name, value in values.items()}


def test_what_is_kept_is_the_smallest_share_of_all_knowledge() -> None:
    base = {"metrics": rates(**dict.fromkeys(KNOWLEDGE, 50.0))}
    row = {"metrics": rates(**dict(zip(KNOWLEDGE, (50.0, 40.0, 60.0), strict=True)))}
    assert kept(row, base) == 0.8  # type: ignore[arg-type]


def measured(name: str, gs: float, **other: Any) -> Measured:
    values = {"GS": gs, SHORT: 50.0, **dict.fromkeys(UNSEEN, gs / 2), **dict.fromkeys(FLAGGED, 2.0)}
    facts = {"kept": 1.0, "rise": 0.0, "price": 5} | other
    return Measured(name, name, rates(**values), **facts)


BASE = measured("base", 0, price=0)


def test_an_edit_that_meets_every_number_of_the_goal_reaches_it() -> None:
    assert all(goals(measured("good", 60), BASE).values())


@pytest.mark.parametrize(
    ("edit", "missed"),
    [
        (measured("weak", 59.9), "GS >= 60"),
        (measured("costly", 60, kept=0.96), "keeps 97 %"),
        (measured("exposing", 60, rise=1.1), "exposure at most +1"),
    ],
)
def test_what_is_missed_is_named(edit: Measured, missed: str) -> None:
    assert [part for part, met in goals(edit, BASE).items() if not met] == [missed]


def test_an_edit_that_gains_nothing_holds_on_no_unseen_concept() -> None:
    assert not goals(measured("idle", 0), BASE)["unseen concepts >= half"]


def test_the_front_has_all_that_no_other_one_beats() -> None:
    better, worse, dear = measured("better", 60), measured("worse", 50), measured("dear", 10, price=None)
    assert front([BASE, better, worse, dear]) == [better, dear]
