"""What Python functions return: short where it is printed, a table where it is a report, and still plain data."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from command_line import cache_at, done
from models import table, tiny_clip

import editkit
from editkit.errors import RecipeError

FAST = {"compute.workers": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, tuples, and a cache for all tests here."""
    root = tmp_path_factory.mktemp("shown")
    tiny_clip(root / "model")
    table(root / "pairs")
    with cache_at(root / "cache"):
        edited_in(root, root / "patch")
    return root


pytestmark = pytest.mark.usefixtures("beside_place")


def data_of(place: Path) -> dict[str, Any]:
    return {"model": place / "model", "data": str(place / "pairs" / "t.jsonl"), "settings": FAST}


def edited_in(place: Path, output: Path, **more: Any) -> Any:
    return editkit.edit("uwm", tau=0.2, output=output, **data_of(place), **more)


def test_what_functions_return_is_short_where_it_is_printed(place: Path, tmp_path: Path) -> None:
    edited = edited_in(place, tmp_path / "patch", save=tmp_path / "saved")
    kept = editkit.evaluate("retrieval", output=tmp_path / "r.json", **data_of(place))
    found = editkit.results(tmp_path / "r.json")
    values = (
        edited,
        edited.plan,
        edited.patch,
        found,
        editkit.diff(place / "model", tmp_path / "saved"),
        editkit.show(edited.folder),
        editkit.load(str(place / "model")),
    )
    for value in values:
        assert len(repr(value)) < 700 and len(repr(value).splitlines()) == 1, type(value)
    weights = sum(change.count for change in edited.patch.changes.values())
    assert f"Patch({weights:,} weights in 4 tensors)" in repr(edited) and "folder=" in repr(edited)
    assert kept["evaluation"] == "retrieval"


def test_a_report_shows_the_commands_table_and_is_the_commands_json(place: Path) -> None:
    flags = ("--model", place / "model", "--data", place / "pairs" / "t.jsonl", "--workers", 0, "--no-controls")
    report = editkit.evaluate("safeground", patches=[place / "patch"], controls=False, **data_of(place))
    command = ("eval", "safeground", "--patch", place / "patch", *flags)
    assert json.loads(json.dumps(report)) == done(*command, "--json").json
    assert isinstance(report, dict) and report["models"][1]["name"] == "patch"
    assert [line.rstrip() for line in repr(report).splitlines()] == [
        line.rstrip() for line in done(*command).out.splitlines()
    ]
    page = report._repr_html_()
    assert page.startswith("<pre") and "patch" in page and "GS" in page and "<script" not in page
    assert repr(pickle.loads(pickle.dumps(report))) == repr(report)


def test_names_in_a_page_are_text(place: Path, tmp_path: Path) -> None:
    (tmp_path / "<b>[red]x").symlink_to(place / "patch")
    with warnings.catch_warnings():
        report = editkit.evaluate("retrieval", patches=[tmp_path / "<b>[red]x"], controls=False, **data_of(place))
    report["models"][1]["name"] = "<b>[red]x"
    assert "&lt;b&gt;[red]x" in report._repr_html_() and "<b>[red]x" in repr(report)


def test_an_evaluation_with_a_table_of_its_own_is_shown_by_it(place: Path) -> None:
    report = editkit.evaluate("zeroshot", model=place / "model", settings=FAST | {"calibration.limit": 6})
    assert repr(report) and report._repr_html_().startswith("<pre")


def test_progress_is_shown_where_it_is_asked_for(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "cache"))
    edited_in(place, tmp_path / "silent")
    assert "calibrating" not in capsys.readouterr().err
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "other"))
    edited_in(place, tmp_path / "told", progress=True)
    assert [line for line in capsys.readouterr().err.splitlines() if line.endswith((": 6", ": 5"))]
    editkit.apply(tmp_path / "told", place / "model", tmp_path / "edited", progress=True)
    assert "verifying tensors: " in capsys.readouterr().err
    editkit.evaluate("retrieval", controls=False, progress=True, **data_of(place))
    assert ": 6" in capsys.readouterr().err


def test_bars_and_a_display_of_ones_own_are_not_asked_for_together(place: Path, tmp_path: Path) -> None:
    from editkit.api.bars import stage

    with pytest.raises(RecipeError, match="Give one of them"):
        edited_in(place, tmp_path / "patch", progress=True, stage=stage)
    assert not (tmp_path / "patch").exists()
