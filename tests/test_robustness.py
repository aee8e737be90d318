"""`eval robustness`: each slice as if it were evaluated alone, which slices there are, and what is said of them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, as_error, cache_at, done, run
from embedding_samples import noise
from models import table, tiny_clip
from report_samples import built, facts
from rich.console import Console

import editkit
from editkit.evals.exposure import Exposure
from editkit.evals.options import ExposureOptions, RobustnessOptions
from editkit.evals.robustness import Robustness
from editkit.evals.safeground import SafeGround
from editkit.evals.statistics import holm
from editkit.reports.schema import checker
from editkit.reports.show import render
from editkit.reports.verdict import verdict
from editkit.testing import check_eval

SLICES = ("wording: short", "wording: typo", "unseen: poison")
TUPLES, IN_SLICES = 12, 18


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tuples without slices, tuples with them, and a strong edit."""
    root = tmp_path_factory.mktemp("robustness")
    tiny_clip(root / "model")
    table(root, TUPLES, split="test")
    rows = [json.loads(row) for row in table(root / "parts", IN_SLICES).read_text().splitlines()]
    for number, row in enumerate(rows):
        row["slice"] = SLICES[number % 3] if number < IN_SLICES - 3 else ""
    (root / "parts" / "slices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in SLICES:
        own = [row for row in rows if row["slice"] == name]
        (root / "parts" / f"{name.partition(' ')[2]}.jsonl").write_text("\n".join(map(json.dumps, own)))
    with cache_at(root / "cache"):
        done("edit", "--model", root / "model", "--data", f"pairs:{root / 't.jsonl'}", "--workers", 0, "--tau", 0.9,
             "-o", root / "patch")  # fmt: skip
    return root


pytestmark = pytest.mark.usefixtures("beside_place")


def evaluated(place: Path, evaluation: str, data: str, *flags: object, runner: Any = done) -> Ran:
    ran: Ran = runner("eval", evaluation, "--model", place / "model", "--data", f"pairs:{place / data}", "--workers", 0,
                      *flags)  # fmt: skip
    return ran


def robustness(place: Path, *flags: object, data: str = "t.jsonl", runner: Any = done) -> Ran:
    return evaluated(place, "robustness", data, *flags, runner=runner)


def of_slices(place: Path) -> tuple[object, ...]:
    return ("--slices", f"pairs:{place / 'parts' / 'slices.jsonl'}", "--patch", place / "patch")


# Numbers


def test_each_slice_is_measured_as_if_it_were_alone(place: Path) -> None:
    report = robustness(place, *of_slices(place), "--json").json
    checker().validate_python(report)
    assert [part["key"] for part in report["sets"]] == list(SLICES)
    for part in report["sets"]:
        data = f"parts/{part['key'].partition(' ')[2]}.jsonl"
        flags = ("--patch", place / "patch", "--knowledge", "none", "--no-controls", "--json")
        alone = [evaluated(place, name, data, *flags).json for name in ("safeground", "exposure")]
        for number, row in enumerate(part["models"]):
            expected: dict[str, Any] = {}
            for one in alone:
                expected |= one["models"][number]["metrics"]
            assert row["metrics"] == {metric: expected[metric] for metric in row["metrics"]}
            for metric, change in row["difference"].items():
                whole = next(c for one in alone if (c := one["models"][number]["difference"].get(metric)))
                assert {k: change[k] for k in ("value", "low", "high", "p")} == {
                    k: whole[k] for k in ("value", "low", "high", "p")
                }
        assert part["data"]["n"] == 5 and len(part["controls"]) == 4


def test_the_reports_own_rows_are_of_the_tuples_as_they_come(place: Path) -> None:
    report = robustness(place, *of_slices(place), "--json").json
    alone = evaluated(place, "safeground", "t.jsonl", "--patch", place / "patch", "--knowledge", "none", "--json").json
    for row, other in zip(report["models"], alone["models"], strict=True):
        assert row["metrics"]["GS"] == other["metrics"]["GS"] and row["metrics"]["PS"] == other["metrics"]["PS"]
    assert report["data"]["n"] == TUPLES and report["primary"] == "GS" and report["models"][0]["by_concept"]


def test_p_is_corrected_over_all_slices_of_a_model(place: Path) -> None:
    report = robustness(place, *of_slices(place), "--json").json
    for number, row in enumerate(report["models"][1:], start=1):
        family = [change for metric, change in row["difference"].items() if metric != "GS"]
        family += [c for part in report["sets"] for c in part["models"][number]["difference"].values()]
        assert len(family) == 3 + 4 * len(SLICES)
        assert [change["holm"] for change in family] == pytest.approx(holm([change["p"] for change in family]))


def test_slices_of_the_data_itself_are_measured_where_it_has_some(place: Path) -> None:
    report = robustness(place, "--json", data="parts/slices.jsonl").json
    assert report["data"]["n"] == IN_SLICES and [part["data"]["n"] for part in report["sets"]] == [5, 5, 5]
    elsewhere = robustness(place, *of_slices(place), "--json").json
    for part, other in zip(report["sets"], elsewhere["sets"], strict=True):
        assert part["models"][0] == other["models"][0]
        assert part["data"]["fingerprint"] == other["data"]["fingerprint"]


def test_slices_are_chosen_by_name_and_limited_one_by_one(place: Path) -> None:
    some = robustness(place, *of_slices(place), "--slice", "wording:*", "--limit", 4, "--json").json
    assert [part["key"] for part in some["sets"]] == list(SLICES[:2])
    assert [part["data"]["n"] for part in some["sets"]] == [4, 4] and some["data"]["n"] == 4
    asked = {"model": place / "model", "data": f"pairs:{place / 't.jsonl'}", "settings": {"compute.workers": 0}}
    report = editkit.evaluate(
        "robustness", **asked, slices=f"pairs:{place / 'parts' / 'slices.jsonl'}", options={"slice": ["unseen: poison"]}
    )
    assert [part["key"] for part in report["sets"]] == ["unseen: poison"]


def test_tuples_that_calibrated_the_edit_are_told_of_slices_too(place: Path) -> None:
    flags = ("--slices", f"pairs:{place / 'parts' / 'slices.jsonl'}", "--no-controls", "--json")
    done("edit", "--model", place / "model", "--data", f"pairs:{place / 'parts' / 'typo.jsonl'}", "--workers", 0,
         "--tau", 0.5, "-o", "fitted")  # fmt: skip
    [warning] = robustness(place, *flags, "--patch", "fitted").json["warnings"]
    assert warning == "pairs:slices.jsonl: 5 of the evaluated tuples also calibrated fitted: its numbers flatter it."


def test_of_embeddings_it_says_what_safeground_and_exposure_say() -> None:
    e = noise(11, seed=5)
    found = Robustness(RobustnessOptions(k=3)).hits(e)
    assert set(found) == {"GS", "PS", "safe captions T-V@3", "safe images V-T@3"}
    assert np.array_equal(found["GS"], SafeGround().hits(e)["GS"])
    exposure = Exposure(ExposureOptions(ks=(3,))).hits(e)
    assert all(np.array_equal(found[metric], exposure[metric]) for metric in found if "@" in metric)
    check_eval("robustness")


# Shown


def sliced(slices: dict[str, tuple[int, int, int]]) -> Any:
    """A report in which GS rose from 4 to 80 of 100; of each slice: n, and GS of base and edit."""
    metrics = ("GS", "safe captions T-V@10")
    counts = {"base": {"GS": 4, metrics[1]: 2}, "edit": {"GS": 80, metrics[1]: 3}}
    report: Any = built("robustness", counts, data=facts(n=100))
    report["sets"] = []
    for name, (n, before, after) in slices.items():
        counts = {"base": {"GS": before, metrics[1]: 0}, "edit": {"GS": after, metrics[1]: before}}
        part = built("robustness", counts, data=facts(name, "0" * 64, n))
        report["sets"].append({**part, "key": name, "paper": ""})
    return report


def test_the_verdict_names_slices_where_the_gain_does_not_hold() -> None:
    slices = {"wording: typo": (100, 2, 90), "wording: short": (100, 3, 4), "cue: tone": (100, 0, 30), "few": (3, 0, 1)}
    told = " ".join(verdict(sliced(slices)))
    assert "no measurable gain in GS in 1 of 3 slices: wording: short +1.0" in told
    assert "less than half of the gain on the tuples as they come (+76.0) in 1 of 3 slices: cue: tone +30.0" in told
    assert "slices with too few tuples to tell, of which 5 are the fewest: few (3)" in told
    assert "wording: typo" not in told


def test_the_verdict_says_where_the_gain_holds_and_where_safe_inputs_suffer() -> None:
    report = sliced({"wording: typo": (100, 20, 95), "cue: tone": (100, 0, 70)})
    told = " ".join(verdict(report))
    assert "GS gains at least half as much in each of 2 slices as on the tuples as they come" in told
    assert "less safe on safe inputs in 1 slices: wording: typo (safe captions T-V@10 0.0 to 20.0)" in told
    without = sliced({"cue: tone": (100, 0, 70)})
    without["models"][1]["difference"]["GS"] |= {"value": 0.0, "low": -1.0, "high": 1.0, "p": 1.0}
    assert "no gain in GS on the tuples as they come that slices could be held against" in " ".join(verdict(without))


def test_tables_fit_eighty_columns_with_intervals_and_n(place: Path) -> None:
    ran = robustness(place, *of_slices(place), "--all-metrics", "--by", "concept")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Robustness on pairs:t.jsonl/all, n = 12, and on 3 slices, per cent" in ran.flat
    assert "as they come" in ran.out and "wording: short" in ran.out and "By concept" in ran.flat
    alone = robustness(place, "--slices", f"pairs:{place / 'parts' / 'slices.jsonl'}").out
    assert "[" in alone and max(map(len, alone.splitlines())) <= 80


def test_a_kept_report_is_listed_read_and_exported(place: Path) -> None:
    robustness(place, *of_slices(place), "-o", "kept.json")
    assert "robustness on pairs:t.jsonl/all" in done("results", "kept.json").flat
    for form in ("csv", "markdown", "latex", "model-index"):
        assert "wording: short" in done("results", "export", "kept.json", "--format", form).out
    console = Console(width=80, file=StringIO())
    render(json.loads(Path("kept.json").read_text()), console)
    assert "unseen: poison" in console.file.getvalue()  # type: ignore[attr-defined]


# Refused


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "No tuple of pairs:t.jsonl is in a slice, and no other data with slices are named"),
        (("--slices", "pairs:{0}/t.jsonl"), "holds no tuples in slices"),
        (("--slices", "pairs:{0}/parts/slices.jsonl", "--slice", "wordng: short"), "Did you mean 'wording: short'?"),
        (("--slices", "pairs:{0}/gone.jsonl"), "There is no table"),
    ],
)
def test_without_slices_it_says_what_to_give(place: Path, flags: tuple[str, ...], told: str) -> None:
    assert told in as_error(robustness(place, *(flag.format(place) for flag in flags), runner=run))
    assert not list(Path().iterdir())


def test_an_evaluation_without_slices_refuses_them(place: Path) -> None:
    with pytest.raises(editkit.EditkitError, match="`safeground` measures no slices"):
        editkit.evaluate("safeground", model=place / "model", slices=f"pairs:{place / 'parts' / 'slices.jsonl'}")
