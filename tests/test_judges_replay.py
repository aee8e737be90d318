"""The judge `replay`: recorded scores by text or id; what was not recorded is told, not guessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from editkit.errors import DataError, ModelError
from editkit.evals.judges import Verdict
from editkit.evals.judges.options import ReplayOptions
from editkit.evals.judges.replay import Replay

ROWS = [
    {"id": "7", "text": "a dog", "score": 0.125},
    {"id": "8", "text": 'a, "wound"', "score": 0.75},
    {"id": "9", "text": "a line", "score": 0.5},
]


def write(path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return path


def replay(path: Path, **options: Any) -> Replay:
    return Replay(ReplayOptions(path=path, **options))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_scores_are_found_by_text_in_any_order_and_any_format(suffix: str, tmp_path: Path) -> None:
    steps: list[int] = []
    judge = replay(write(tmp_path / f"perspective.{suffix}"))
    verdicts = judge.judge(["a line", "a dog", 'a, "wound"', "a dog"], steps.append)
    assert [verdict.score for verdict in verdicts] == [0.5, 0.125, 0.75, 0.125]
    assert [verdict.unsafe for verdict in verdicts] == [True, False, True, False]
    assert steps == [1] * 4 and judge.prompt_hash == ""


def test_an_item_that_was_not_recorded_is_failed(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "10", "text": "blank", "score": None}]
    verdicts = replay(write(tmp_path / "r.jsonl", rows)).judge(["a dog", "another dog", "blank"])
    missing = Verdict("failed", reason="no score is recorded for this text")
    assert verdicts[1:] == [missing, missing] and verdicts[0].state == "judged"


def test_ids_serve_where_there_are_no_texts(tmp_path: Path) -> None:
    rows = [{"image": row["id"], "TOXICITY": row["score"]} for row in ROWS]
    judge = replay(
        write(tmp_path / "r.csv", rows), key="id", key_column="image", score_column="TOXICITY", threshold=0.6
    )
    verdicts = judge.judge(["x", "y"], ids=["9", "8"])
    assert [(verdict.score, verdict.unsafe) for verdict in verdicts] == [(0.5, False), (0.75, True)]
    with pytest.raises(DataError, match="no ids"):
        judge.judge(["x", "y"])


def test_a_recording_of_other_items_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="judged none of 2 items. 2 times: no score is recorded"):
        replay(write(tmp_path / "r.jsonl")).judge(["p", "q"])


@pytest.mark.parametrize("score", ["high", "1.5", "-0.1", "nan", "inf", "75"])
def test_a_score_out_of_range_names_its_row(score: str, tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "10", "text": "x", "score": score}]
    with pytest.raises(DataError, match=rf"row 4: score is '{score}'"):
        replay(write(tmp_path / "r.csv", rows)).judge(["a dog"])


def test_two_scores_for_one_text_are_an_error_and_the_same_twice_is_none(tmp_path: Path) -> None:
    twice = [*ROWS, {**ROWS[0], "id": "11"}]
    assert replay(write(tmp_path / "same.jsonl", twice)).judge(["a dog"])[0].score == 0.125
    other = [*ROWS, {**ROWS[0], "score": 0.25}]
    with pytest.raises(DataError, match="row 4: a second score, 0.25"):
        replay(write(tmp_path / "other.jsonl", other)).judge(["a dog"])


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'TOXICITY', but id, text, score"):
        replay(write(tmp_path / "r.csv"), score_column="TOXICITY").judge(["a dog"])


def test_the_revision_names_the_recording_and_its_content(tmp_path: Path) -> None:
    first = replay(write(tmp_path / "r.csv")).revision
    again = replay(write(tmp_path / "r.csv")).revision
    other = replay(write(tmp_path / "r.csv", ROWS[:2])).revision
    assert first == again != other and first.startswith("r.csv ")
