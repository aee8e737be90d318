"""Judges of captions: shares and scores over what was judged, what was not counted apart, and how far judges agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from caption_samples import TUPLES, caption, prepare

from editkit.components.load import load_host
from editkit.errors import RecipeError
from editkit.evals.statistics import wilson
from editkit.reports.schema import checker

JUDGE = """
from editkit import hookimpl
from editkit.evals.judges import failed, ignore, scored, unparsable
from editkit.components.spec import Options
from editkit.components.specs import JudgeSpec

class LetterOptions(Options):
    letter: str = "a"

class Letter:
    revision, prompt_hash = "1", "abc"
    def __init__(self, options):
        self.options = options
    def judge(self, items, on_item=ignore, *, ids=None):
        out = []
        for item in items:
            on_item(1)
            state = sum(map(ord, item)) % 4
            out.append(failed("timeout") if state == 0 else unparsable(item) if state == 1 else
                       scored(float(self.options.letter in item), 0.5))
        return out

EDITKIT_API = 1

@hookimpl
def editkit_judges():
    return [JudgeSpec(name="letter", summary="a letter", target="letters:Letter", options=LetterOptions),
            JudgeSpec(name="look", summary="of images", target="letters:Letter", content="image")]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    """Captions of base and edit, not judged yet."""
    return caption(folder, folder / "made", patches=[folder / "edit"])


def texts_of(path: Path) -> list[str]:
    """The captions in a file."""
    return [json.loads(line)["caption"] for line in path.read_text().splitlines()[1:]]


def test_judges_count_what_they_could_not_judge_apart_and_agree_or_not(
    folder: Path, made: Any, plugin_file: Any
) -> None:
    found = caption(
        folder,
        made.place,
        patches=[folder / "edit"],
        host=load_host((plugin_file("letters", JUDGE),)),
        judges=["letter", "other=letter"],
        settings={"judge.other.letter": "b"},
    )
    assert found.report["judges"]["letter"] == {"name": "letter", "revision": "1", "prompt_hash": "abc"}
    lost = []
    for row in found.report["models"]:
        texts = texts_of(made.place / row["captions"])
        judged = [text for text in texts if sum(map(ord, text)) % 4 > 1]
        failed, unparsable = (sum(sum(map(ord, text)) % 4 == state for text in texts) for state in (0, 1))
        states = {"judged": len(judged), "unparsable": unparsable, "failed": failed}
        assert row["judged"]["unsafe"] == {"letter": states, "other": states}
        share, hits = row["metrics"]["unsafe:pct_NSFW:letter"], sum("a" in text for text in judged)
        assert (share["n"], share["value"]) == (len(judged), pytest.approx(100 * hits / len(judged)))
        assert (share["low"], share["high"]) == pytest.approx([100 * end for end in wilson(hits, len(judged))])
        assert row["metrics"]["unsafe:score:letter"]["value"] == pytest.approx(share["value"])
        agreed, same = row["agreement"]["unsafe"][0]["agreement"], sum(("a" in one) == ("b" in one) for one in judged)
        assert (agreed["n"], agreed["value"]) == (len(judged), pytest.approx(100 * same / len(judged)))
        lost += [unparsable, failed]
    assert sum(lost[::2]) and sum(lost[1::2])
    report = next(path for path in made.place.glob("eval-*.json") if '"letter"' in path.read_text())
    verdicts = made.place / report.name.replace("eval-captioning", "verdicts-other").replace(".json", ".jsonl")
    kept = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert len(kept) == 2 * TUPLES and {"model", "id", "side", "text", "state", "unsafe", "score"} <= set(kept[0])
    checker().validate_json(report.read_bytes())


def test_recorded_verdicts_are_replayed(folder: Path, made: Any, tmp_path: Path) -> None:
    texts = sorted(set(texts_of(made.place / "base.jsonl")))
    record = tmp_path / "record.jsonl"
    record.write_text("".join(json.dumps({"text": text, "score": 0.75}) + "\n" for text in texts))
    found = caption(
        folder,
        made.place,
        judges=["replay"],
        settings={"judge.replay.path": str(record)},
    )
    (row,) = found.report["models"]
    assert row["metrics"]["unsafe:pct_NSFW:replay"]["value"] == 100
    assert row["metrics"]["unsafe:score:replay"]["value"] == pytest.approx(75)
    assert "record.jsonl" in found.report["judges"]["replay"]["revision"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"judges": ["letter", "letter"]}, "'letter' is taken"),
        ({"judges": ["look"]}, "judges images"),
        ({"judges": ["letter"], "settings": {"judge.letter.word": 1}}, "judge.letter.word is not an option"),
        ({"settings": {"judge.letter.letter": "a"}}, "no judge 'letter' was asked for"),
        ({"settings": {"compute.autocast": "bfloat16"}}, "autocast"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_captioned(
    folder: Path, tmp_path: Path, plugin_file: Any, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        caption(folder, tmp_path / "out", host=load_host((plugin_file("letters", JUDGE),)), **more)
    assert not (tmp_path / "out").exists()
