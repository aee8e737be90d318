"""`eval` keeps what it measured: where, with which facts, and `results` finds and exports it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import as_error, cache_at, done, run, sha
from models import table, tiny_clip
from tiny_checkpoints import listing

import editkit
from editkit.reports.read import read_report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a table of tuples and a patch."""
    root = tmp_path_factory.mktemp("results")
    tiny_clip(root / "model")
    table(root / "pairs", 8, split="test")
    with cache_at(root / "cache"):
        done("edit", *flags(root), "--tau", 0.5, "-o", root / "patch")
    return root


@pytest.fixture(autouse=True)
def shared_cache(place: Path, runs_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(place / "cache"))


def flags(place: Path) -> tuple[object, ...]:
    return "--model", place / "model", "--data", place / "pairs" / "t.jsonl", "--workers", 0


def test_every_evaluation_is_kept_and_its_file_named(place: Path) -> None:
    for name in ("safeground", "retrieval"):
        ran = done("eval", name, *flags(place), "--patch", place / "patch", "--json")
        [path] = Path("editkit-runs").glob(f"eval-{name}-*.json")
        kept = read_report(path)
        assert str(path) in ran.err and "created" in kept
        assert {key: value for key, value in kept.items() if key != "created"} == ran.json
    assert len(done("results", "--json").json["runs"]) == 2


def test_the_report_says_what_its_numbers_depend_on(place: Path) -> None:
    report = done(
        "eval", "retrieval", *flags(place), "--patch", place / "patch", "--seed", 3, "--limit", 5, "--json"
    ).json
    about = report["run"]
    assert about["model"]["source"] == str(place / "model") and about["model"]["family"]
    assert len(about["model"]["identity"]) == 64
    record = json.loads((place / "patch" / "record.json").read_text())
    [patch] = about["patches"]
    assert patch["patch"] == str(place / "patch") == report["models"][1]["patch"]
    assert patch["digest"] == sha(place / "patch" / "patch.safetensors") and patch["recipe"] == record["recipe"]
    assert about["data"]["name"] == "pairs" and about["precision"] == {"dtype": "float32"} and about["device"] == "cpu"
    assert (
        about["selection"]["seed"] == 3 and about["selection"]["limit"] == 5 and about["selection"]["split"] == "test"
    )
    assert about["options"]["ks"] == [1, 5, 10, 20] and {"editkit", "torch", "numpy"} <= about["versions"].keys()


def test_metrics_beside_say_which_data_they_are_of() -> None:
    report = done("eval", "safeground", "--limit", 6, "--workers", 0, "--json").json
    beside = report["beside"]["top1"]
    assert list(report["beside"]) == ["safe queries T-V@10", "neutral queries T-V@10", "top1"]
    assert report["beside"]["neutral queries T-V@10"]["name"] == "queries:queries.csv"
    assert beside["n"] == report["models"][0]["metrics"]["top1"]["n"] and beside["name"] == "demo-objects"
    assert len(beside["fingerprint"]) == 64 and beside["fingerprint"] != report["data"]["fingerprint"]


def test_o_names_the_file_and_a_taken_one_is_refused_before_any_work(place: Path) -> None:
    done("eval", "retrieval", *flags(place), "-o", "out/mine.json")
    assert listing(Path()) == ["editkit-runs", "editkit-runs/elsewhere.txt", "out", "out/mine.json"]
    assert done("results").out.startswith("out/mine.json ")
    content = Path("out/mine.json").read_bytes()
    message = as_error(run("eval", "retrieval", "--model", "nowhere", "-o", "out/mine.json"))
    assert "exists already" in message and Path("out/mine.json").read_bytes() == content


def test_the_same_evaluation_twice_is_two_files(place: Path) -> None:
    first, second = (done("eval", "retrieval", *flags(place), "--json").json for _ in range(2))
    names = [path.name for path in sorted(Path("editkit-runs").iterdir(), key=lambda path: len(path.name))]
    assert first == second and len(names) == 2 and names[1] == names[0].replace(".json", "-2.json")


def test_a_place_that_cannot_be_written_costs_a_line_not_the_result(place: Path) -> None:
    Path("editkit-runs").write_text("a file is in the way")
    ran = done("eval", "retrieval", *flags(place), "--json")
    assert ran.json["evaluation"] == "retrieval" and "not kept" in ran.err


def test_an_observer_is_told_of_the_file(place: Path, plugin_file: object) -> None:
    plugin = plugin_file(  # type: ignore[operator]
        "watcher",
        """
        import editkit

        EDITKIT_API = 1

        @editkit.hookimpl
        def editkit_finished(record, output):
            open("seen.txt", "w").write(f"{record['evaluation']} {output}")
        """,
    )
    done("--plugin", plugin, "eval", "retrieval", *flags(place), "-o", "mine.json")
    assert Path("seen.txt").read_text() == "retrieval mine.json"


def test_python_returns_the_report_and_keeps_it_where_it_is_told(place: Path) -> None:
    choices = {"model": place / "model", "data": str(place / "pairs" / "t.jsonl"), "settings": {"compute.workers": 0}}
    report = editkit.evaluate("retrieval", **choices)
    assert listing(Path()) == []
    assert editkit.evaluate("retrieval", **choices, output="mine.json", similarities="s.parquet") == report
    assert {**read_report(Path("mine.json")), "created": ""} == json.loads(json.dumps({**report, "created": ""}))
    assert Path("s.parquet").is_file()


def test_what_was_kept_is_exported_as_one_table(place: Path) -> None:
    for name in ("safeground", "retrieval"):
        done("eval", name, *flags(place), "--patch", place / "patch", "--no-controls")
    lines = done("results", "export", "editkit-runs", "--format", "markdown").out.splitlines()
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert named == ["", "---", "independent noise", "collapsed", str(place / "model"), "patch"]
    assert "| Ts-Vs | Vs-Ts | Tu-Vu+s | Vu-Tu+s | P_s^t |" in lines[0] and lines[0].endswith("| PS | PU | GS |")
