"""An edit that was fitted to pairs is set against the same fit to pairs that say something else."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import cache_at, done
from models import table, tiny_clip

from editkit.components.load import default_host
from editkit.data.tuples import Item
from editkit.evals.refit_controls import _recorded, other_pairs, random_sides
from editkit.patch.patch import Patch

FITTED = ["sides 0", "sides 1", "other pairs", "shuffled 0"]


def items(*concepts: str) -> tuple[Item, ...]:
    return tuple(
        Item(str(n), Path(f"s{n}"), Path(f"u{n}"), f"safe {n}", f"unsafe {n}", concept)
        for n, concept in enumerate(concepts)
    )


def test_sides_are_exchanged_in_about_half_of_the_tuples_captions_and_images_together() -> None:
    before = items(*"a" * 400)
    after = random_sides(before, 0)
    assert after == random_sides(before, 0) != random_sides(before, 1)
    exchanged = [old.safe_text != new.safe_text for old, new in zip(before, after, strict=True)]
    assert 160 < sum(exchanged) < 240
    for old, new, swapped in zip(before, after, exchanged, strict=True):
        sides = [(old.safe_text, old.safe_image), (old.unsafe_text, old.unsafe_image)]
        found = [(new.safe_text, new.safe_image), (new.unsafe_text, new.unsafe_image)]
        assert found == (sides[::-1] if swapped else sides) and (new.id, new.concept) == (old.id, old.concept)


@pytest.mark.parametrize("concepts", ["aabbcc", "abcabc", "aaabbc", "ab", "aabb", "aaabbb"])
def test_unsafe_sides_come_from_other_concepts_each_once(concepts: str) -> None:
    before = items(*concepts)
    after = other_pairs(before)
    taken = [int(str(item.unsafe_text).split()[1]) for item in after]
    assert Counter(taken) == Counter(range(len(before)))
    for old, new, source in zip(before, after, taken, strict=True):
        assert before[source].concept != old.concept and new.unsafe_image == before[source].unsafe_image
        assert (new.safe_text, new.safe_image, new.id) == (old.safe_text, old.safe_image, old.id)


def test_of_a_single_concept_they_come_from_other_tuples() -> None:
    for n in (2, 3, 7):
        before = items(*"a" * n)
        pairs = zip(before, other_pairs(before), strict=True)
        assert all(old.unsafe_text != new.unsafe_text for old, new in pairs)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fitted")
    tiny_clip(root / "model")
    table(root / "data", 16)
    with cache_at(root / "cache"):
        done("edit", "--model", root / "model", "--data", root / "data" / "t.jsonl", "--workers", 0,
             "--manipulator", "refuse", "-o", root / "patch")  # fmt: skip
    return root


def evaluation(root: Path, data: Path) -> tuple[object, ...]:
    measure = ("eval", "safeground", "--patch", root / "patch", "--model", root / "model", "--data", data)
    return (*measure, "--split", "train", "--knowledge", "none", "--workers", 0, "--json")


def test_the_controls_are_the_same_fit_to_other_pairs(fitted: Path) -> None:
    with cache_at(fitted / "cache"):
        report = done(*evaluation(fitted, fitted / "data" / "t.jsonl")).json
    names = [row["name"] for row in report["controls"]]
    assert names[: len(FITTED)] == FITTED and set(names[len(FITTED) :]) <= {"shrink"}
    assert all(row["metrics"] != report["models"][1]["metrics"] for row in report["controls"][:2])


def test_where_the_calibration_data_are_gone_the_change_is_shuffled_and_the_user_told(
    fitted: Path, tmp_path: Path
) -> None:
    shutil.copytree(fitted, tmp_path / "moved")
    record = Patch.load(tmp_path / "moved" / "patch").record
    assert record["data"]["n"] == 16
    shutil.move(fitted / "data", fitted / "hidden")
    try:
        ran = done(*evaluation(tmp_path / "moved", tmp_path / "moved" / "data" / "t.jsonl"))
    finally:
        shutil.move(fitted / "hidden", fitted / "data")
    assert [row["name"] for row in ran.json["controls"]][:3] == ["shuffled 0", "shuffled 1", "shuffled 2"]
    assert "no controls fitted to other pairs: " in ran.err


@pytest.mark.parametrize(("recorded", "preserved"), [(["words"], ["words"]), (["none"], []), (None, [])])
def test_controls_preserve_what_the_record_says_and_those_of_older_records_nothing(
    recorded: list[str] | None, preserved: list[str], tmp_path: Path
) -> None:
    done("edit", "--limit", 16, "--workers", 0, "--manipulator", "refuse", "-o", tmp_path / "p")
    patch = Patch.load(tmp_path / "p")
    recipe = {name: value for name, value in patch.record["recipe"].items() if name != "preserve"}
    recipe |= {"preserve": recorded} if recorded else {}
    told = replace(patch, record={**patch.record, "recipe": recipe})
    assert list(_recorded(told, "demo", default_host()).recipe.preserve) == preserved
