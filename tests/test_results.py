"""`editkit results`: runs kept, found, filtered and told of; files that cannot be used are named and harm no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from command_line import as_error, done, run
from report_samples import built, facts, measured, run_of
from tiny_checkpoints import listing

from editkit.errors import OutputError
from editkit.files.outputs import new_file
from editkit.reports import store
from editkit.reports.elsewhere import note_elsewhere
from editkit.reports.read import collect, read_report
from editkit.reports.schema import Report
from editkit.reports.store import keep_report, save_report

pytestmark = pytest.mark.usefixtures("runs_here")


def dated(report: Report, when: str, path: Path) -> Path:
    """Keep a report as if it had been written at another time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**report, "created": when}))
    return path


# Kept


def test_a_report_is_kept_under_its_evaluation_and_digest_with_the_time_of_writing() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    path = keep_report(measured(), Path("editkit-runs"))
    assert path.parent == Path("editkit-runs") and path.name.startswith("eval-safeground-") and path.suffix == ".json"
    kept = read_report(path)
    assert before <= datetime.fromisoformat(kept["created"]) <= datetime.now(UTC)
    assert {key: value for key, value in kept.items() if key != "created"} == json.loads(json.dumps(measured()))


def test_the_same_result_has_the_same_name_with_a_number_and_another_result_has_another() -> None:
    first, second, third = (keep_report(measured(), Path("editkit-runs")) for _ in range(3))
    assert second.name == f"{first.stem}-2.json" and third.name == f"{first.stem}-3.json"
    other = measured()
    other["models"][1]["metrics"]["GS"]["value"] += 0.5
    assert not keep_report(other, Path("editkit-runs")).name.startswith(first.stem)


def test_a_report_is_never_written_over_another() -> None:
    path = save_report(measured(), Path("mine.json"))
    content = path.read_bytes()
    with pytest.raises(OutputError, match="mine.json exists already"):
        save_report(measured(), path)
    Path("link.json").symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists already"):
        save_report(measured(), Path("link.json"))
    assert path.read_bytes() == content and listing(Path()) == ["link.json", "mine.json"]


def test_a_name_that_another_run_takes_in_between_is_not_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = keep_report(measured(), Path("editkit-runs"))
    content, places = taken.read_bytes(), iter([taken, taken.with_name("free.json")])
    monkeypatch.setattr(store, "free_place", lambda runs, evaluation, digest: next(places))
    assert keep_report(measured(), Path("editkit-runs")).name == "free.json" and taken.read_bytes() == content


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_file_appears_whole_or_not_at_all(error: BaseException) -> None:
    with pytest.raises((KeyboardInterrupt, OutputError)), new_file(Path("a/b/report.json")) as partial:
        partial.write_text("half")
        raise error
    assert listing(Path()) == []


def test_a_report_with_a_number_that_is_none_is_not_kept() -> None:
    report = measured()
    report["models"][0]["metrics"]["GS"]["value"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        keep_report(report, Path("editkit-runs"))
    assert listing(Path()) == []


# Found


def three_runs() -> None:
    """SafeGround of two models, and retrieval; in a folder with a patch, a model and what is no report."""
    runs = Path("editkit-runs")
    other = built("safeground", {"base": {"GS": 8}}, data=facts("visu/test", "ff" * 8), run=run_of("openai/clip"))
    recall = built("retrieval", {"base": {"Tu-Vu+s": 8, "Ts-Vs": 60}, "uwm-2": {"Tu-Vu+s": 9, "Ts-Vs": 30}})
    dated(measured(), "2026-01-10T12:00:00+00:00", runs / "eval-safeground-1.json")
    dated(other, "2026-03-10T12:00:00+00:00", runs / "eval-safeground-2.json")
    dated(recall, "2026-02-10T12:00:00+00:00", runs / "deeper" / "mine.json")
    for name, content in {
        "patch/record.json": '{"schema": "editkit.patch-record/1"}',
        "m/config.json": "{}",
    }.items():
        (runs / name).parent.mkdir()
        (runs / name).write_text(content)


def listed(*args: object) -> list[str]:
    return [Path(entry["file"]).stem for entry in done("results", *args, "--json").json["runs"]]


def test_runs_are_listed_newest_first_wherever_they_lie_below_the_folder() -> None:
    three_runs()
    everything = ["eval-safeground-2", "mine", "eval-safeground-1"]
    assert listed() == listed("list") == listed("editkit-runs") == everything
    assert listed("editkit-runs/deeper") == ["mine"]
    assert listed("editkit-runs/deeper", "editkit-runs/eval-safeground-1.json") == ["mine", "eval-safeground-1"]
    assert done("results").err == "" and done("results", "--json").json["unusable"] == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--evaluation", "retrieval"), ["mine"]),
        (("--model", "CLIP"), ["eval-safeground-2"]),
        (("--model", "abab"), ["eval-safeground-2", "mine", "eval-safeground-1"]),
        (("--patch", "uwm"), ["mine", "eval-safeground-1"]),
        (("--patch", "uwm-2"), ["mine"]),
        (("--patch", b"runs/uwm-2".hex()[:20]), ["mine"]),
        (("--data", "visu"), ["eval-safeground-2"]),
        (("--data", "0a1b2c"), ["mine", "eval-safeground-1"]),
        (("--data", "objects"), ["eval-safeground-1"]),
        (("--since", "2026-02-10T12:00:00+00:00"), ["eval-safeground-2", "mine"]),
        (("--since", "2026-03-01"), ["eval-safeground-2"]),
        (("--evaluation", "safeground", "--data", "demo"), ["eval-safeground-1"]),
        (("--evaluation", "zeroshot"), []),
    ],
)
def test_filters_choose_runs(flags: tuple[str, ...], expected: list[str]) -> None:
    three_runs()
    assert listed(*flags) == expected


def test_what_was_written_elsewhere_is_listed_and_called_by_its_name(tmp_path: Path) -> None:
    three_runs()
    here, away = Path("recall.json"), tmp_path.parent / f"{tmp_path.name}-away" / "deep.json"
    for place in (here, away):
        note_elsewhere(save_report(measured(), place), Path("editkit-runs"))
    ran = done("results")
    assert "recall.json  20" in ran.out and f"{away}  20" in ran.out
    assert {"recall", "deep"} < set(listed()) and listed("editkit-runs") == [
        "eval-safeground-2",
        "mine",
        "eval-safeground-1",
    ]
    assert "GS" in done("results", "export", "deep", "--format", "csv").out


def test_what_was_written_elsewhere_and_moved_is_named_and_harms_nothing() -> None:
    three_runs()
    note_elsewhere(save_report(measured(), Path("recall.json")), Path("editkit-runs"))
    Path("recall.json").rename("moved.json")
    ran = done("results")
    assert ran.err.startswith("recall.json is not there any more: it was moved or removed.")
    assert "editkit-runs/elsewhere.txt names it" in ran.err and "eval-safeground-1.json" in ran.out
    assert done("results", "--json").json["unusable"][0]["file"] == "recall.json"


def test_without_runs_it_says_where_it_looked() -> None:
    assert "There are no runs in editkit-runs of this folder yet." in done("results").err
    Path("other").mkdir()
    assert "There are no runs in other yet." in done("results", "other").err


def test_a_run_tells_its_headline_metrics_with_n_interval_and_change() -> None:
    three_runs()
    ran = done("results")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "eval-safeground-1.json 2026-01-10" in ran.flat
    assert "safeground on demo/test, n = 80, model demo" in ran.flat
    assert "base: GS 25.0 [16.8, 35.5], Ts-Vs 75.0 [64.5, 83.2], top1 75.0" in ran.flat
    assert "uwm: GS 56.2 [45.3, 66.6] (+31.2 [+22.2, +42.1])" in ran.flat
    assert "uwm-2: Tu-Vu+s 11.2" in ran.flat


def test_the_json_of_a_list_holds_numbers_and_facts() -> None:
    three_runs()
    [entry] = done("results", "--patch", "uwm-2", "--json").json["runs"]
    assert entry["created"] == "2026-02-10T12:00:00+00:00" and entry["model"] == "demo"
    assert entry["evaluation"] == "retrieval" and entry["data"]["n"] == 80 and entry["left_out"] == 0
    base, edit = entry["models"]
    assert base["metrics"]["Ts-Vs"]["value"] == 75.0 and edit["difference"]["Ts-Vs"]["value"] == -37.5


def test_unusable_files_are_named_in_one_line_each_and_the_others_go_on() -> None:
    three_runs()
    runs = Path("editkit-runs")
    future, missing = ({**measured(), "created": "2026-01-01T00:00:00+00:00"} for _ in range(2))
    (runs / "future.json").write_text(json.dumps({**future, "schema": "editkit.eval/2"}))
    missing["models"][1]["metrics"]["PS"].pop("n")  # type: ignore[misc]
    (runs / "missing.json").write_text(json.dumps(missing))
    (runs / "cut.json").write_text(json.dumps(measured())[:900])
    (runs / "eval-empty.json").write_text("")
    ran = done("results")
    reasons = dict(line.removeprefix("editkit-runs/").split(" ", 1) for line in ran.err.splitlines())
    assert reasons.keys() == {"future.json", "missing.json", "cut.json", "eval-empty.json"}
    assert "editkit.eval/2; this editkit reads editkit.eval/1" in reasons["future.json"]
    assert "models.1.metrics.PS.n is missing" in reasons["missing.json"]
    assert "damaged" in reasons["cut.json"] and "damaged" in reasons["eval-empty.json"]
    assert ran.out == done("results").out and len(listed()) == 3
    named = done("results", "--json").json["unusable"]
    assert [Path(entry["file"]).name for entry in named] == [
        "cut.json",
        "eval-empty.json",
        "future.json",
        "missing.json",
    ]


def test_a_report_without_a_date_is_listed_last_and_is_never_since() -> None:
    three_runs()
    Path("editkit-runs/piped.json").write_text(json.dumps(measured()))
    assert listed()[-1] == "piped" and "piped" not in listed("--since", "2020-01-01")
    assert "piped.json no date" in done("results").flat


def test_no_runs_at_all_says_what_makes_one() -> None:
    ran = done("results")
    assert ran.out == "" and "editkit eval safeground" in ran.err


def test_wrong_arguments_are_errors_of_two_lines() -> None:
    assert "no nowhere" in as_error(run("results", "nowhere"))
    assert "--since soon is not a date" in as_error(run("results", "--since", "soon"))


def test_a_link_to_nothing_is_no_run() -> None:
    three_runs()
    Path("editkit-runs/loop.json").symlink_to("loop.json")
    found, unusable = collect([Path("editkit-runs")])
    assert len(found) == 3 and not unusable


# Without torch

WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "open_clip"):
    sys.modules[name] = None  # importing it would fail
from editkit.cli import main
for args in (["results"], ["results", "--json"], *(["results", "export", "editkit-runs", "--format", form]
             for form in ("csv", "markdown", "latex", "clip-benchmark", "model-index"))):
    assert main(args) == 0, args
"""


def test_invariant_5_listing_and_exporting_results_import_no_model_library() -> None:
    dated(measured(), "2026-01-10T12:00:00+00:00", Path("editkit-runs/eval-1.json"))
    paths = os.pathsep.join(path for path in sys.path if path)
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "GS 25.0" in finished.stdout and r"\toprule" in finished.stdout


def test_help_names_both_commands() -> None:
    text: Any = done("results", "--help").flat
    assert "export" in text and "newest first" in text
