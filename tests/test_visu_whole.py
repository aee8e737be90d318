"""A run over a ViSU with unusable tuples ends, names them, and has the numbers of the rest (5,000: see benchmarks)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from command_line import cache_at, done
from models import tiny_clip
from visu_samples import TAGS, synthetic_visu

from editkit.reports.schema import Report

COUNT = 500


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("visu-whole")
    tiny_clip(root / "model")
    return root


@pytest.fixture(scope="module")
def bad(place: Path) -> dict[str, str]:
    """What is wrong by id."""
    return synthetic_visu(place / "visu", COUNT)


def evaluated(place: Path, name: str, evaluation: str) -> Report:
    flags = ("--model", place / "model", "--data", f"visu:{place / name}", "--workers", 0, "--batch-size", 100)
    with cache_at(place / "cache"):
        return done("eval", evaluation, *flags, "--json").json  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def safeground(place: Path, bad: dict[str, str]) -> Report:
    return evaluated(place, "visu", "safeground")


def test_every_unusable_tuple_is_left_out_with_its_reason(safeground: Report, bad: dict[str, str]) -> None:
    reasons = {entry["id"]: entry["reason"] for entry in safeground["left_out"]}
    assert len(safeground["left_out"]) == len(bad) == 13 and reasons.keys() == bad.keys()
    expected = {
        "safe missing": "safe image missing",
        "unsafe missing": "unsafe image missing",
        "unsafe cut short": "cannot be read",
        "safe zeros": "cannot be read",
        "unsafe without bytes": "cannot be read",
        "empty caption": "unsafe caption missing or empty",
    }
    assert set(bad.values()) == set(expected)
    for identifier, wrong in bad.items():
        assert expected[wrong] in reasons[identifier], (wrong, reasons[identifier])


def test_the_numbers_are_those_of_the_rest(safeground: Report, place: Path, bad: dict[str, str]) -> None:
    assert synthetic_visu(place / "clean", COUNT, clean=True) == bad
    for evaluation in ("safeground", "retrieval"):
        found = safeground if evaluation == "safeground" else evaluated(place, "visu", evaluation)
        clean = evaluated(place, "clean", evaluation)
        assert clean["left_out"] == [] and clean["data"]["n"] == found["data"]["n"] == COUNT - len(bad)
        assert clean["models"] == found["models"]


def test_n_holds_for_every_metric_and_concepts_add_up(safeground: Report, bad: dict[str, str]) -> None:
    [base] = safeground["models"]
    assert {rate["n"] for rate in base["metrics"].values()} == {COUNT - len(bad)}
    usable = Counter(TAGS[number % len(TAGS)] for number in range(COUNT) if str(7 * number + 3) not in bad)
    spelt = {tag.lower().replace("fluids", "bluids"): count for tag, count in usable.items()}
    assert {concept: rates["GS"]["n"] for concept, rates in base["by_concept"].items()} == spelt


def test_the_run_is_told_in_the_table(place: Path, bad: dict[str, str]) -> None:
    flags = ("--model", place / "model", "--data", f"visu:{place / 'visu'}", "--workers", 0)
    with cache_at(place / "cache"):
        ran = done("eval", "safeground", *flags)
    assert f"n = {COUNT - len(bad)} tuples" in ran.flat and f"Left out: {len(bad)}" in ran.flat
