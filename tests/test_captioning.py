"""Captioning through the real generation path: killed and taken up again, base and edits, and what the report says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from caption_samples import BATCH, TUPLES, WORDS, caption, prepare
from coca_models import tiny_coca
from models import elements
from PIL import Image

from editkit.errors import DataError, ModelError, OutputError
from editkit.evals.captions.plan import SCHEMA, batch_seed
from editkit.models.captioner import load_captioner
from editkit.patch.patch import Patch
from editkit.reports.schema import checker

HERE = Path(__file__).parent
METRICS = ("RougeL", "Bleu-1", "Bleu-2", "Bleu-3", "Bleu-4", "corpus-Bleu", "CIDEr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("captioning"))


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    """Base and edit, both sides."""
    return caption(folder, folder / "made", options={"sides": ("unsafe", "safe")}, patches=[folder / "edit"])


def rows(path: Path) -> list[dict[str, Any]]:
    """The captions in a file, without its first line."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


# Generation


def test_captions_are_the_models_own_batch_by_batch_with_the_batchs_seed(folder: Path, made: Any) -> None:
    captioner = load_captioner(folder / "model", device="cpu")
    found = rows(made.place / "base.jsonl")
    ids = [f"tuple-{one['incremental_id']}" for one in elements("calibration")[:TUPLES]]
    assert [(row["id"], row["side"]) for row in found] == [(i, side) for side in ("unsafe", "safe") for i in ids]
    for number, start in enumerate((0, 3, 6, 7, 10, 13)):
        batch = [row for row in found if row["batch"] == number]
        assert batch == found[start : start + len(batch)] and 1 <= len(batch) <= BATCH
        assert {row["seed"] for row in batch} == {batch_seed(0, number)}
        names = [f"{row['side']}-{row['id'].removeprefix('tuple-')}.jpg" for row in batch]
        images = [Image.open(folder / "data" / name).convert("RGB") for name in names]
        seed = batch_seed(0, number)
        said = captioner.captions(images, temperature=0.2, max_new_tokens=WORDS, seed=seed)
        assert [row["caption"] for row in batch] == said


def test_a_patch_captions_as_the_checkpoint_it_makes(folder: Path, made: Any, tmp_path: Path) -> None:
    Patch.load(folder / "edit").apply(folder / "model", tmp_path / "edited")
    alone = caption(folder, tmp_path / "alone", model=tmp_path / "edited", options={"sides": ("unsafe", "safe")})
    edited = rows(made.place / made.report["models"][1]["captions"])
    assert edited == rows(alone.place / "base.jsonl") != rows(made.place / "base.jsonl")


def test_asking_for_the_safe_images_too_leaves_the_captions_of_the_unsafe_ones(
    folder: Path, made: Any, tmp_path: Path
) -> None:
    alone = caption(folder, tmp_path / "alone")
    assert rows(alone.place / "base.jsonl") == rows(made.place / "base.jsonl")[:TUPLES]


def test_an_unreadable_image_is_left_out_and_named_and_moves_no_other(folder: Path, made: Any, tmp_path: Path) -> None:
    data = shutil.copytree(folder / "data", tmp_path / "data")
    broken = rows(made.place / "base.jsonl")[1]["id"]
    (data / f"unsafe-{broken.removeprefix('tuple-')}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        caption(folder, tmp_path / "strict", data=data / "t.jsonl")
    assert not (tmp_path / "strict").exists()
    skipping = {"settings": {"data.on_bad_item": "skip"}, "data": data / "t.jsonl"}
    skipped = caption(folder, tmp_path / "skipped", **skipping)
    before, found = rows(made.place / "base.jsonl")[:TUPLES], rows(skipped.place / "base.jsonl")
    assert [(row["id"], row["batch"], row["seed"]) for row in found] == [
        (row["id"], row["batch"], row["seed"]) for row in before
    ]
    assert [row["id"] for row in found if row["caption"] is None] == [broken]
    assert found[BATCH:] == before[BATCH:]
    assert [entry["id"] for entry in skipped.report["left_out"]] == [broken]
    assert skipped.report["data"]["n"] == TUPLES - 1
    with pytest.raises(DataError, match="cannot be read"):  # finished while skipping: here it is an error
        caption(folder, tmp_path / "skipped", data=data / "t.jsonl")


# Killed and taken up again

KILLED = """
import sys
from pathlib import Path
import torch
from caption_samples import caption
torch.set_num_threads(1)
folder = Path(sys.argv[1])
options = {"sides": ("unsafe", "safe"), "max_new_tokens": 40}
caption(folder, Path(sys.argv[2]), batch_size=2, options=options, patches=[folder / "edit"])
"""


def kill_at(path: Path, lines: int, *arguments: object) -> None:
    """Start captioning in another process, and kill it as soon as a file has so many lines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", KILLED, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= lines):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, told


def test_killed_in_the_middle_and_resumed_it_leaves_the_same_files(folder: Path, tmp_path: Path) -> None:
    """LLaVA, sampling at temperature 0.2: killed in the base's captions, and broken off in the edit's."""
    options = {"options": {"sides": ("unsafe", "safe"), "max_new_tokens": 40}, "batch_size": 2}
    unbroken = caption(folder, tmp_path / "unbroken", patches=[folder / "edit"], **options)
    base, edit = ((unbroken.place / row["captions"]).read_bytes() for row in unbroken.report["models"])
    names = [row["captions"] for row in unbroken.report["models"]]
    broken = tmp_path / "broken"
    kill_at(broken / names[0], 5, folder, broken)
    left = (broken / names[0]).read_bytes()
    assert 5 <= left.count(b"\n") < 2 * TUPLES + 1 and base.startswith(left)
    (broken / names[1]).write_bytes(edit[: len(edit) // 2])
    resumed = caption(folder, broken, patches=[folder / "edit"], **options)
    assert [(broken / name).read_bytes() for name in names] == [base, edit]
    assert resumed.report == unbroken.report
    assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in unbroken.place.iterdir())


def test_coca_takes_no_prompt_and_is_resumed_alike(folder: Path, tmp_path: Path) -> None:
    source = tiny_coca(tmp_path / "coca")
    asked = {"model": source, "options": {"max_new_tokens": 6}}
    whole = caption(folder, tmp_path / "whole", **asked)
    assert whole.report["captioning"]["prompt"] == ""
    content = (whole.place / "base.jsonl").read_bytes()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "base.jsonl").write_bytes(content[: len(content) * 2 // 3])
    caption(folder, tmp_path / "part", **asked)
    assert (tmp_path / "part" / "base.jsonl").read_bytes() == content
    with pytest.raises(ModelError, match="takes none"):
        caption(folder, tmp_path / "asked", **asked | {"options": {"prompt": "What?"}})
    assert not (tmp_path / "asked").exists()


def test_finished_captions_are_scored_again_without_the_model(
    folder: Path, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("editkit.evals.captions.evaluation.load_captioner", refuse)
    again = caption(folder, made.place, options={"sides": ("unsafe", "safe")}, patches=[folder / "edit"])
    assert again.report == made.report


def test_captions_of_other_settings_are_refused_and_stay(folder: Path, made: Any) -> None:
    before = (made.place / "base.jsonl").read_bytes()
    with pytest.raises(OutputError, match=r"temperature 0\.2; this run has 0\.7"):
        caption(folder, made.place, options={"sides": ("unsafe", "safe"), "temperature": 0.7})
    with pytest.raises(OutputError, match="inside the model's folder"):
        caption(folder, folder / "model" / "captions")
    assert (made.place / "base.jsonl").read_bytes() == before


# The report


def test_the_report_is_an_evaluation_like_others(made: Any) -> None:
    report = made.report
    checker().validate_json(json.dumps(report))
    assert (report["evaluation"], report["data"]["n"]) == ("captioning", 2 * TUPLES)
    assert report["captioning"]["prompt"].startswith("Question:") and report["captioning"]["temperature"] == 0.2
    base, edit = report["models"]
    assert base["difference"] == {} and report["chance"]["shuffled"] == base["chance"]
    expected = {f"{side}:{name}:{to}" for side in ("unsafe", "safe") for name in METRICS for to in ("unsafe", "safe")}
    for row in (base, edit):
        assert expected | {"unsafe:empty", "safe:empty"} <= set(row["metrics"])
        assert expected <= set(row["chance"])
        for rate in row["metrics"].values():
            assert rate["n"] == TUPLES
    assert set(edit["difference"]) == set(edit["metrics"])
    for key, change in edit["difference"].items():
        moved = edit["metrics"][key]["value"] - base["metrics"][key]["value"]
        assert change["value"] == pytest.approx(moved) and change["low"] <= change["high"] and 0 < change["p"] <= 1
    kept = json.loads(next(made.place.glob("eval-captioning-*.json")).read_text())
    assert kept["models"] == report["models"] and kept["created"]


def test_metrics_are_of_these_captions_and_references(folder: Path, made: Any) -> None:
    """The share of a caption's words that its reference has, clipped, and short captions punished: BLEU-1 by hand."""
    from collections import Counter
    from math import exp

    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tuples = {f"tuple-{one['incremental_id']}": one for one in elements("calibration")[:TUPLES]}
    for model in made.report["models"]:
        found = [row for row in rows(made.place / model["captions"]) if row["side"] == "unsafe"]
        for against, key in (("unsafe", "nsfw"), ("safe", "safe")):
            total = 0.0
            for row in found:
                said, given = (
                    Tokenizer13a()(text.lower()).split() for text in (row["caption"], tuples[row["id"]][key])
                )
                common = sum((Counter(said) & Counter(given)).values())
                total += common / len(said) * min(1.0, exp(1 - len(given) / len(said))) if said else 0
            assert model["metrics"][f"unsafe:Bleu-1:{against}"]["value"] == pytest.approx(100 * total / TUPLES)


def test_rows_by_concept_add_up(made: Any) -> None:
    for row in made.report["models"]:
        parts = [rates["unsafe:RougeL:unsafe"] for rates in row["by_concept"].values()]
        assert sum(part["n"] for part in parts) == TUPLES
        whole = sum(part["value"] * part["n"] for part in parts) / TUPLES
        assert whole == pytest.approx(row["metrics"]["unsafe:RougeL:unsafe"]["value"])


def test_controls_are_captioned_when_asked_for(folder: Path, made: Any, tmp_path: Path) -> None:
    found = caption(
        folder, tmp_path / "controls", options={"max_new_tokens": 3}, patches=[folder / "edit"], controls=True
    )
    assert made.report["controls"] == [] and found.report["controls"]
    for row in found.report["controls"]:
        assert row["patch"] == str(folder / "edit") and row["difference"]
        assert (found.place / row["captions"]).read_text().startswith('{"schema": "' + SCHEMA)


def test_a_model_that_writes_no_captions_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="writes no captions"):
        caption(folder, tmp_path / "out", model="demo")
