"""The linear filter in an evaluation: when it is fitted and to what, what the report says, and what is told of it."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import done
from models import tiny_clip
from report_samples import N, hits, measured
from rich.console import Console
from split_tables import two_splits

from editkit.evals.statistics import change_of, rate_of
from editkit.reports.read import read_report
from editkit.reports.schema import Report
from editkit.reports.show import render
from editkit.reports.verdict import verdict


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, tables of two splits, and edits of both towers and of one, made from the first split."""
    root = tmp_path_factory.mktemp("stage")
    tiny_clip(root / "model")
    two_splits(root, train=14, test=8)
    for name, flags in (("both", ()), ("words", ("--target", "text:attn.out")), ("few", ("--limit", 12))):
        done("edit", *common(root), "--tau", 0.3, *flags, "-o", root / name)
    return root


def common(root: Path) -> tuple[object, ...]:
    return ("--model", root / "model", "--data", f"pairs:{root / 't-{split}.jsonl'}", "--workers", 0)


def evaluated(root: Path, *flags: object, evaluation: str = "safeground", patch: str = "both") -> Report:
    made: Report = done("eval", evaluation, "--patch", root / patch, *common(root), *flags, "--json").json
    return made


@pytest.fixture(scope="module")
def report(stage: Path) -> Report:
    return evaluated(stage, "--patch", stage / "words")


def test_the_filter_is_fitted_to_the_split_for_edits_and_measured_as_every_model(report: Report) -> None:
    found = report["filter"]
    assert found["calibration"]["name"].endswith("/train") and found["calibration"]["n"] == 14
    assert found["model"]["name"] == "linear filter" and found["model"]["patch"] is None
    base = report["models"][0]
    assert found["model"]["metrics"].keys() == base["metrics"].keys() == found["model"]["difference"].keys()
    assert found["model"]["by_concept"].keys() == base["by_concept"].keys()
    assert set(found["detection"]) == set(found["shrinkage"]) == {"text", "image"}
    assert "linear filter" not in [row["name"] for row in (*report["models"], *report["controls"])]


def test_each_edit_stands_beside_the_filter_in_the_modalities_that_it_moves(report: Report) -> None:
    both, words = report["filter"]["edits"]
    assert (both["name"], words["name"]) == ("both", "words")
    assert set(both["detection"]) == {"text", "image"} and set(words["detection"]) == {"text"}
    for edit, row in zip((both, words), report["models"][1:], strict=True):
        for metric, change in edit["difference"].items():
            filtered = report["filter"]["model"]["metrics"][metric]["value"]
            assert change["value"] == pytest.approx(row["metrics"][metric]["value"] - filtered)


def test_the_same_pairs_as_the_edit_was_calibrated_on(stage: Path) -> None:
    assert evaluated(stage, patch="few")["filter"]["calibration"]["n"] == 12


def test_retrieval_has_the_filter_too(stage: Path) -> None:
    found = evaluated(stage, evaluation="retrieval")["filter"]
    assert "Ts-Vs" in found["model"]["metrics"] and found["edits"][0]["name"] == "both"


def test_tuples_that_are_evaluated_fit_no_filter_and_a_note_says_so(stage: Path) -> None:
    made = evaluated(stage, "--split", "train")
    assert "filter" not in made
    assert any("No linear filter was fitted: 14 of the calibration tuples" in note for note in made["notes"])


def test_a_data_set_without_a_split_for_edits_fits_none_and_a_note_says_so(stage: Path, tmp_path: Path) -> None:
    [*same] = ("eval", "safeground", "--patch", stage / "both", "--model", stage / "model", "--workers", 0)
    whole = done(*same, "--data", f"pairs:{stage / 't-test.jsonl'}", "--json").json
    assert "filter" not in whole and any("are evaluated themselves" in note for note in whole["notes"])


def test_without_controls_there_is_none(stage: Path) -> None:
    made = evaluated(stage, "--no-controls")
    assert "filter" not in made and not any("filter" in note for note in made["notes"])


def test_a_kept_report_with_a_filter_is_read_as_it_was_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "eval-x.json").write_text(json.dumps(report))
    assert read_report(tmp_path / "eval-x.json") == report


# What is told


def with_filter(edit: int, filtered: int) -> Any:
    """A report in which an edit and a filter meet GS on so many of the items, the first ones."""
    made = measured()
    row = json.loads(json.dumps(made["models"][1])) | {"name": "linear filter", "patch": None}
    row["metrics"]["GS"] = rate_of(filtered, N)
    change = change_of(hits(filtered), hits(edit))
    found = {"detected": rate_of(79, N), "false_positives": rate_of(1, N)}
    made["filter"] = {
        "model": row,
        "calibration": made["data"],
        "shrinkage": {"text": 0.1, "image": 0.1},
        "detection": {"text": found, "image": found},
        "edits": [{"name": "uwm", "patch": "runs/uwm", "difference": {"GS": change}, "detection": {"text": found}}],
    }
    return made


@pytest.mark.parametrize(
    ("edit", "filtered", "said"),
    [
        (60, 20, "uwm: gains more than the linear filter: GS +50.0 ["),
        (20, 60, "uwm: gains less than the linear filter: GS -50.0 ["),
        (41, 40, "uwm: does not measurably gain more than the linear filter: GS +1.2 ["),
    ],
)
def test_the_verdict_compares_an_edit_with_the_filter(edit: int, filtered: int, said: str) -> None:
    told = verdict(with_filter(edit, filtered))
    assert told[0].startswith(
        "linear filter: without any edit it finds 98.8 % of unsafe captions and 98.8 % of unsafe images, and flags "
        "1.2 % of safe captions and 1.2 % of safe images; hiding these, GS is "
    )
    assert next(sentence for sentence in told if "the linear filter: GS" in sentence).startswith(said)


def test_a_gain_is_told_with_what_edit_and_filter_differ_by_in_knowledge() -> None:
    made = with_filter(60, 20)
    made["filter"]["edits"][0]["difference"]["Ts-Vs"] = change_of(hits(70), hits(50))
    told = next(sentence for sentence in verdict(made) if "the linear filter: GS" in sentence)
    assert "; in knowledge, edit minus filter: Ts-Vs -25.0 [" in told


def test_without_a_filter_nothing_is_told_of_one() -> None:
    assert not any("filter" in sentence for sentence in verdict(measured()))


def test_a_terminal_of_80_columns_shows_the_filter_below_the_base_and_what_is_detected() -> None:
    console = Console(width=80, file=StringIO(), highlight=False)
    render(with_filter(60, 20), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    places = [next(i for i, line in enumerate(lines) if line.startswith(name)) for name in ("base", "linear", "uwm")]
    assert places == sorted(places)
    assert any(line.startswith("uwm: captions") and "98.8 [93.3, 99.8]" in line for line in lines)
    assert not any(line.startswith("uwm: images") for line in lines)
    assert np.count_nonzero([line.startswith("Detection") for line in lines]) == 1


def test_the_filter_stands_beside_edits_in_every_slice_too(stage: Path, report: Report) -> None:
    rows = [json.loads(row) for row in (stage / "t-test.jsonl").read_text().splitlines()]
    told = [{**row, "id": f"{name} {row['id']}", "slice": name} for name in ("a", "b") for row in rows]
    (stage / "parts.jsonl").write_text("\n".join(map(json.dumps, told)))
    found = evaluated(stage, "--slices", f"pairs:{stage / 'parts.jsonl'}", evaluation="robustness")
    expected = report["filter"]["model"]["metrics"]["GS"]
    for part in (found, *found["sets"]):  # the slices are the same tuples again
        assert part["filter"]["model"]["metrics"]["GS"] == expected
    console = Console(width=80, record=True, file=StringIO())
    render(found, console)
    lines = console.export_text().splitlines()
    assert any("linear" in line and "base" in line for line in lines)
