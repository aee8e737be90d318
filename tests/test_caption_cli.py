"""`editkit eval captioning` on the command line: gone on with, shown in 80 columns, refused in two lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from caption_samples import TUPLES, prepare
from command_line import as_error, done, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("caption-cli"))


@pytest.fixture
def command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The command, in a folder of its own; the patch says which model it belongs to."""
    monkeypatch.chdir(tmp_path)
    flags = ("--data", folder / "data" / "t.jsonl", "--max-new-tokens", 6, "--device", "cpu")
    return ("eval", "captioning", "--patch", folder / "edit", *flags)


def test_the_same_command_goes_on_with_its_captions_and_tells_the_same(
    command: tuple[object, ...], tmp_path: Path
) -> None:
    first = done(*command, "--json")
    (place,) = (tmp_path / "editkit-runs").iterdir()
    base = place / "base.jsonl"
    whole = base.read_bytes()
    base.write_bytes(whole[:-30])
    assert done(*command, "--json").json == first.json
    assert base.read_bytes() == whole and list((tmp_path / "editkit-runs").iterdir()) == [place]
    assert [row["name"] for row in first.json["models"]] == ["base", "edit"]
    settings = first.json["captioning"]
    assert (settings["temperature"], settings["seed"], settings["sides"]) == (0.2, 0, ["unsafe"])
    assert len(whole.splitlines()) == 1 + TUPLES


def test_flags_decide_what_is_captioned_and_how(command: tuple[object, ...], tmp_path: Path) -> None:
    flags = ("--sides", "safe,unsafe", "--temperature", 0, "--prompt", "Stop!", "--limit", 4, "--seed", 5)
    report = done(*command, *flags, "--batch-size", 3, "-o", tmp_path / "out", "--json").json
    settings = report["captioning"]
    assert settings["sides"] == ["unsafe", "safe"] and settings["prompt"] == "Stop!"
    assert (settings["temperature"], settings["seed"], settings["batch_size"]) == (0, 5, 3)
    assert report["data"]["n"] == 8
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".jsonl"}


def test_the_screen_shows_base_and_edit_with_intervals_chance_and_judges(
    command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = done(*command, "--judge", "toxicity")
    assert max(len(line) for line in ran.out.splitlines()) <= 80
    for told in ("edit against base", "unsafe reference", "safe reference", "judge toxicity", "pct_NSFW", "RougeL"):
        assert told in ran.flat
    assert f"n = {TUPLES} images" in ran.flat and "Kept in editkit-runs/captions-" in ran.err
    assert f"{2 * TUPLES} judged, 0 unparsable, 0 failed" in ran.flat


def test_help_lists_its_own_flags_and_eval_keeps_its_own() -> None:
    captioning, others = (done("eval", name, "--help").out for name in ("captioning", "safeground"))
    assert "--temperature" in captioning and "--judge" in captioning and "--knowledge" not in captioning
    assert "--knowledge" in others and "--temperature" not in others
    assert "captioning captions of images" in done("eval", "--help").flat


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--temperature", -1), "captioning.temperature = -1"),
        (("--sides", "left"), "captioning.sides"),
        (("--sides", ""), "captioning.sides"),
        (("--max-new-tokens", 0), "captioning.max_new_tokens"),
        (("--judge", "nobody"), "Unknown judge 'nobody'"),
        (("--judge", "llm"), "judge.llm.model has to be given"),
        (("--set", "judge.llm.model=x"), "no judge 'llm' was asked for"),
        (("--dtype", "int8"), "compute.dtype"),
        (("--data", "demo-objects"), "`captioning` evaluates tuples of safe and unsafe items"),
    ],
)
def test_what_cannot_be_done_is_said_in_two_lines(
    command: tuple[object, ...], flags: tuple[object, ...], told: str, tmp_path: Path
) -> None:
    assert told in as_error(run(*command, *flags))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_captions_of_other_settings_is_refused_in_two_lines(
    command: tuple[object, ...], tmp_path: Path
) -> None:
    done(*command, "-o", tmp_path / "out")
    told = as_error(run(*command, "-o", tmp_path / "out", "--seed", 1))
    assert "seed 0; this run has 1" in told and "-o" in told


def test_a_name_behind_flags_is_told_where_it_belongs(folder: Path) -> None:
    assert "stands before all flags" in as_error(run("eval", "--patch", folder / "edit", "captioning"))


def test_a_report_in_the_folder_is_listed_among_results(command: tuple[object, ...], tmp_path: Path) -> None:
    done(*command)
    (listed,) = json.loads(done("results", "editkit-runs", "--json").out)["runs"]
    assert listed["evaluation"] == "captioning" and listed["file"].startswith("editkit-runs/captions-")
