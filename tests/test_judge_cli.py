"""`editkit judge`: what is there already, judged, compared and kept, from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import as_error, done, run
from PIL import Image

from editkit.evals.statistics import mcnemar, wilson
from editkit.reports.model_index import as_model_index
from editkit.reports.read import Stored
from editkit.reports.schema import checker

SCORES = {"a dog": 0.1, "a man hits a dog": 0.8, "a knife": 0.6, "soup": 0.2, "a bomb": 0.9}
BASE = [("1", "a man hits a dog"), ("2", "a knife"), ("3", "soup"), ("4", "a bomb")]
EDITED = [("2", "soup"), ("1", "a dog"), ("4", "a bomb"), ("9", "a knife")]


@pytest.fixture(autouse=True)
def here(runs_here: Path) -> Path:
    write("scores.jsonl", [{"text": text, "score": score} for text, score in SCORES.items()])
    return runs_here


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = Path(name)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def texts(name: str, rows: Sequence[tuple[str, str]]) -> Path:
    return write(name, [{"id": key, "text": text} for key, text in rows])


REPLAY = ("--judge", "replay", "--set", "judge.replay.path=scores.jsonl")


def judged(*args: object) -> Any:
    return done("judge", *args, "--json").json


def test_the_share_and_the_mean_score_are_those_of_the_verdicts() -> None:
    report = judged(texts("base.jsonl", BASE), *REPLAY)
    [row] = report["models"]
    low, high = wilson(3, 4)
    share = {"value": 75.0, "low": 100 * low, "high": 100 * high, "n": 4}
    assert row["metrics"]["texts:pct_NSFW:replay"] == pytest.approx(share)
    assert row["metrics"]["texts:score:replay"]["value"] == pytest.approx(100 * np.mean([0.8, 0.6, 0.2, 0.9]))
    assert row["judged"] == {"replay": {"judged": 4, "unparsable": 0, "failed": 0}}
    assert report["judges"]["replay"]["revision"].startswith("scores.jsonl ")
    assert checker().validate_python(report)


def test_a_second_table_is_compared_with_the_first_on_the_ids_that_both_have() -> None:
    report = judged(texts("base.jsonl", BASE), texts("edited.jsonl", EDITED), *REPLAY)
    base, edited = report["models"]
    assert not base["difference"] and edited["metrics"]["texts:pct_NSFW:replay"]["value"] == 50.0
    before, after = np.array([True, True, True]), np.array([False, False, True])  # of 1, 2 and 4
    change = edited["difference"]["texts:pct_NSFW:replay"]
    assert change["value"] == pytest.approx(-200 / 3) and change["p"] == pytest.approx(mcnemar(before, after))
    scores = edited["difference"]["texts:score:replay"]
    assert scores["value"] == pytest.approx(100 * np.mean([0.1 - 0.8, 0.2 - 0.6, 0.9 - 0.9]))
    shown = done("judge", "base.jsonl", "edited.jsonl", *REPLAY)
    assert "-66.7" in shown.flat and max(map(len, shown.out.splitlines())) <= 80


def test_rows_without_ids_of_their_own_are_compared_with_nothing() -> None:
    for rows in ([{"text": "soup"}, {"text": "a dog"}], [{"id": "1", "text": "soup"}, {"id": "1", "text": "a dog"}]):
        report = judged(write("base.jsonl", rows), write("edited.jsonl", rows), *REPLAY)
        assert not report["models"][1]["difference"]


def test_what_has_no_verdict_is_counted_apart_and_what_is_empty_is_left_out() -> None:
    rows = [*BASE, ("5", "never recorded"), ("6", "")]
    report = judged(texts("base.jsonl", rows), *REPLAY)
    assert report["models"][0]["judged"]["replay"] == {"judged": 4, "unparsable": 0, "failed": 1}
    assert report["models"][0]["metrics"]["texts:pct_NSFW:replay"]["n"] == 4
    assert report["left_out"] == [{"id": "base.jsonl: 6", "reason": "text is empty"}]
    assert "Left out: 1 (first: base.jsonl: 6, text is empty)" in done("judge", "base.jsonl", *REPLAY).flat


def test_judges_of_one_kind_are_told_apart_by_labels_and_compared() -> None:
    texts("base.jsonl", BASE)
    strict = ["--judge", "strict=replay"]
    strict += ["--set", "judge.strict.path=scores.jsonl", "--set", "judge.strict.threshold=0.7"]
    report = judged("base.jsonl", *REPLAY, *strict)
    [row] = report["models"]
    assert row["metrics"]["texts:pct_NSFW:strict"]["value"] == 50.0
    [pair] = row["agreement"]
    assert pair["judges"] == ["replay", "strict"] and pair["agreement"]["value"] == 75.0
    assert "replay and strict agree on 75.0" in done("judge", "base.jsonl", *REPLAY, *strict).flat


def test_the_verdicts_are_kept_for_the_judge_replay_by_text_or_id() -> None:
    report = judged(texts("base.jsonl", BASE), *REPLAY, "-o", "kept")
    assert sorted(path.suffix for path in Path("kept").iterdir()) == [".json", ".jsonl"]
    [row] = report["models"]
    for key in ("text", "id"):
        options = ("--set", "judge.replay.path=kept/verdicts-replay.jsonl", "--set", f"judge.replay.key={key}")
        [again] = judged("base.jsonl", "--judge", "replay", *options)["models"]
        assert again["metrics"] == row["metrics"]


def test_a_captions_file_is_judged_as_it_is_and_another_column_on_request() -> None:
    header = {"schema": "editkit.captions/1", "model": "m"}
    write("captions.jsonl", [header, *({"id": key, "caption": text} for key, text in BASE)])
    report = judged("captions.jsonl", *REPLAY)
    assert report["data"]["n"] == 4 and not report["left_out"]
    write("other.jsonl", [{"answer": text} for _, text in BASE])
    assert judged("other.jsonl", "--column", "answer", *REPLAY)["data"]["n"] == 4


def test_a_run_is_listed_and_exported_but_is_no_models_card() -> None:
    texts("base.jsonl", BASE)
    assert "Verdicts: editkit-runs/judged-" in done("judge", "base.jsonl", *REPLAY).err
    judged("base.jsonl", *REPLAY)  # the same again is kept beside it
    first, second = done("results", "--json").json["runs"]
    assert {first["evaluation"], second["evaluation"]} == {"judge"}
    assert "texts:pct_NSFW:replay 75.0" in done("results").flat
    assert "base.jsonl" in done("results", "export", first["file"], "--format", "csv").out
    assert "no model" in as_error(run("results", "export", first["file"], "--format", "model-index"))


def test_a_caption_metric_with_a_hyphen_is_no_retrieval_in_a_model_card() -> None:
    rate = {"value": 1.0, "low": 0.5, "high": 2.0, "n": 3}
    row: Any = {"name": "base", "patch": None, "metrics": {"unsafe:Bleu-1:unsafe": rate}, "difference": {}}
    report: Any = {"evaluation": "captioning", "models": [row], "controls": [], "chance": {}}
    report["data"] = {"name": "d", "fingerprint": "", "n": 3}
    card = as_model_index([Stored(Path("eval-captioning.json"), report)])
    assert "type: captioning" in card and "recall" not in card


def test_a_gallery_of_images_is_judged_by_file_name(tmp_path: Path) -> None:
    pytest.importorskip("nudenet")
    for gallery in ("base", "edited"):
        folder = tmp_path / gallery / "part"
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 24), (90 * number, 120, 200)).save(folder / f"{number}.png")
    (tmp_path / "edited" / "part" / "1.png").write_bytes(b"no image")
    (tmp_path / "base" / "notes.txt").write_text("no image either")
    report = judged("base", "edited", "--judge", "nsfw-image")
    base, edited = report["models"]
    assert base["metrics"]["images:pct_NSFW:nsfw-image"]["n"] == 2
    assert edited["judged"]["nsfw-image"] == {"judged": 1, "unparsable": 0, "failed": 1}
    assert edited["difference"]["images:pct_NSFW:nsfw-image"]["value"] == 0.0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("base.jsonl", "--judge", "reply"), "Did you mean 'replay'?"),
        (("base.jsonl", "--judge", "nsfw-image"), "no column image"),
        (("base.jsonl", *REPLAY, "--judge", "nsfw-image"), "judges images, not texts"),
        (("base.jsonl", *REPLAY, "--column", "txt"), "Did you mean 'text'?"),
        (("base.jsonl", *REPLAY, "--set", "compute.device=cpu"), "only judges have options here"),
        (("base.jsonl", *REPLAY, "--set", "judge.replai.path=x"), "Did you mean 'replay'?"),
        (("base.jsonl", *REPLAY, "-o", "taken"), "taken exists already"),
        (("gone.jsonl", *REPLAY), "There is no table gone.jsonl"),
        (("taken", *REPLAY), "taken is a folder, and texts are looked for in a table"),
        (("taken", "--judge", "nsfw-image"), "There are no images in taken"),
        (("empty.jsonl", *REPLAY), "There are no texts in empty.jsonl"),
        (("strange.jsonl", *REPLAY), "Judge replay judged none of 1 items"),
    ],
)
def test_bad_input_is_two_lines_and_leaves_nothing(args: tuple[str, ...], said: str, here: Path) -> None:
    texts("base.jsonl", BASE)
    texts("empty.jsonl", [("1", "")])
    texts("strange.jsonl", [("1", "never recorded")])
    (here / "taken").mkdir()
    before = sorted(here.rglob("*"))
    assert said in as_error(run("judge", *args))
    assert sorted(here.rglob("*")) == before
