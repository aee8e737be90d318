"""The captions file: whole batches or nothing, the same file wherever a run broke off, and no other run's captions."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from editkit.components.code import Code
from editkit.data.tuples import Item
from editkit.errors import DataError, OutputError
from editkit.evals.captions.file import CaptionFile
from editkit.evals.captions.plan import CaptionBatch, Settings, batch_seed, plan_batches
from editkit.evals.judges.items import read_items
from editkit.models.identity import ModelIdentity

MODEL = ModelIdentity(
    weights="weights",
    config="config",
    processing="processing",
    adapter="plugin.adapter:Model",
    code=(Code("editkit", "0.1.0", "ab" * 32), Code("scipy", "1.0")),
    libraries={"torch": "2.6"},
    dtype="float32",
    autocast="none",
    matmul="highest",
    device="",
)
SETTINGS = Settings(MODEL, None, None, 0.2, 16, 0, 2, "data", ("unsafe", "safe"))
HEADER = SETTINGS.header("model", "Say!", "cpu")


def items(count: int) -> list[Item]:
    return [Item(f"t{i}", Path(f"s{i}"), Path(f"u{i}"), "safe", "unsafe", f"c{i % 2}") for i in range(count)]


PLAN = plan_batches(items(3), ("unsafe", "safe"), 2, seed=0)


def words_of(batch: CaptionBatch) -> list[str | None]:
    """A caption for each image, with what JSON and lines may stumble over; one image cannot be read."""
    said = [f"{task.side} “{task.id}”\u2028\n" for task in batch.tasks]
    return [
        None if task.id == "t2" and task.side == "safe" else text for task, text in zip(batch.tasks, said, strict=True)
    ]


def finish(path: Path, settings: Settings = SETTINGS) -> CaptionFile:
    file = CaptionFile.open(path, settings, PLAN)
    file.go_on(settings.header("model", "Say!", "cpu"))
    for batch in PLAN[file.done :]:
        captions = words_of(batch)
        file.append(batch, captions, ["" if caption is not None else "broken" for caption in captions])
    return file


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    finish(tmp_path / "whole.jsonl")
    return (tmp_path / "whole.jsonl").read_bytes()


# The plan


def test_batches_follow_the_data_side_by_side_and_none_mixes_sides() -> None:
    told = [[(task.id, task.side) for task in batch.tasks] for batch in PLAN]
    assert told == [
        [("t0", "unsafe"), ("t1", "unsafe")],
        [("t2", "unsafe")],
        [("t0", "safe"), ("t1", "safe")],
        [("t2", "safe")],
    ]
    assert [batch.number for batch in PLAN] == [0, 1, 2, 3]
    assert PLAN[:2] == plan_batches(items(3), ("unsafe",), 2, seed=0)


def test_a_batch_has_a_seed_of_its_own_by_hash_of_seed_and_number() -> None:
    assert batch_seed(7, 3) == int(sha256(b"7:3").hexdigest()[:12], 16)
    seeds = {batch_seed(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400 and max(seeds) < 2**53


def test_a_tuple_without_the_image_is_refused() -> None:
    with pytest.raises(DataError, match="'t0' has no safe image"):
        plan_batches([replace(items(1)[0], safe_image=None)], ("safe",), 2, seed=0)


# The file


def test_the_first_line_says_what_captions_depend_on_and_each_other_is_one_image(whole: bytes) -> None:
    header, *rows = map(json.loads, whole.decode().split("\n")[:-1])
    assert header["schema"] == "editkit.captions/1"
    assert {"model", "identity", "patch", "prompt", "temperature", "max_new_tokens", "seed"} <= set(header)
    assert {"batch_size", "fingerprint", "sides"} <= set(header) and header["prompt"] == "Say!"
    assert [(row["id"], row["side"]) for row in rows] == [(task.id, task.side) for b in PLAN for task in b.tasks]
    for row in rows[:-1]:
        assert list(row) == ["id", "side", "concept", "caption", "batch", "seed"]
    assert rows[-1]["caption"] is None and rows[-1]["reason"] == "broken"
    assert [row["seed"] for row in rows] == [batch.seed for batch in PLAN for _ in batch.tasks]


def test_broken_off_after_any_byte_it_is_taken_up_to_the_same_file(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "run.jsonl"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        file = CaptionFile.open(path, SETTINGS, PLAN)
        assert file.rows == [row for row in finish(tmp_path / "whole.jsonl").rows if row.batch < file.done]
        finish(path)
        assert path.read_bytes() == whole, size


def test_opening_changes_nothing_and_only_whole_batches_count(tmp_path: Path, whole: bytes) -> None:
    lines = whole.split(b"\n")
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\n".join(lines[:5]) + b"\n")  # header, a batch of two, one of one, half of one
    before = path.read_bytes()
    file = CaptionFile.open(path, SETTINGS, PLAN)
    assert (file.done, len(file.rows), file.is_complete) == (2, 3, False)
    assert path.read_bytes() == before


def test_a_run_that_fails_before_its_first_batch_leaves_no_file(tmp_path: Path) -> None:
    CaptionFile.open(tmp_path / "run.jsonl", SETTINGS, PLAN).go_on(HEADER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": replace(MODEL, weights="others")}, "identity"),
        ({"model": replace(MODEL, config="others")}, "config"),
        ({"model": replace(MODEL, processing="others")}, "processing"),
        ({"model": replace(MODEL, adapter="another:Model")}, "adapter"),
        (
            {"model": replace(MODEL, code=(Code("editkit", "0.1.0", "cd" * 32), MODEL.code[1]))},
            "code.editkit '0.1.0 abababababab'; this run has '0.1.0 cdcdcdcdcdcd'",
        ),
        ({"model": replace(MODEL, code=MODEL.code[:1])}, "code.scipy '1.0'; this run has None"),
        ({"model": replace(MODEL, libraries={"torch": "2.7"})}, "libraries.torch '2.6'; this run has '2.7'"),
        ({"model": replace(MODEL, libraries={"torch": "2.6", "timm": "1.0"})}, "libraries.timm None"),
        ({"model": replace(MODEL, matmul="high")}, "matmul"),
        ({"patch": "edit"}, "patch"),
        ({"prompt": "What?"}, "prompt"),
        ({"temperature": 0.0}, r"temperature 0\.2; this run has 0\.0"),
        ({"max_new_tokens": 8}, "max_new_tokens 16; this run has 8"),
        ({"seed": 1}, "seed"),
        ({"batch_size": 3}, "batch_size"),
        ({"model": replace(MODEL, dtype="float16")}, "dtype"),
        ({"fingerprint": "other"}, "fingerprint"),
        ({"sides": ("unsafe",)}, "sides"),
    ],
)
def test_captions_made_with_other_settings_are_refused_by_the_name_of_the_setting(
    tmp_path: Path, whole: bytes, change: dict[str, object], told: str
) -> None:
    with pytest.raises(OutputError, match=f"made with {told}") as caught:
        CaptionFile.open(tmp_path / "whole.jsonl", replace(SETTINGS, **change), PLAN)
    assert "-o" in caught.value.remedy


def test_a_file_that_does_not_say_which_code_made_its_captions_is_refused_and_may_be_judged(
    tmp_path: Path, whole: bytes
) -> None:
    header, *rows = whole.split(b"\n")
    older = {name: value for name, value in json.loads(header).items() if name not in ("config", "code", "libraries")}
    content = b"\n".join([json.dumps(older).encode(), *rows])
    (tmp_path / "older.jsonl").write_bytes(content)
    with pytest.raises(OutputError, match="of an older editkit and does not say which code") as caught:
        CaptionFile.open(tmp_path / "older.jsonl", SETTINGS, PLAN)
    assert "-o" in caught.value.remedy and "editkit judge" in caught.value.remedy
    assert (tmp_path / "older.jsonl").read_bytes() == content
    assert read_items(tmp_path / "older.jsonl", "text").items[0] == words_of(PLAN[0])[0]


def test_captions_of_code_that_cannot_be_known_are_never_continued(tmp_path: Path) -> None:
    unknown = replace(SETTINGS, model=replace(MODEL, code=(Code("mine", "", None),)))
    finish(tmp_path / "run.jsonl", unknown)
    with pytest.raises(OutputError, match="code.mine 'unknown"):
        CaptionFile.open(tmp_path / "run.jsonl", replace(unknown), PLAN)


def test_the_familys_prompt_written_out_is_the_same_prompt(tmp_path: Path, whole: bytes) -> None:
    assert CaptionFile.open(tmp_path / "whole.jsonl", replace(SETTINGS, prompt="Say!"), PLAN).is_complete


def test_another_device_may_read_finished_captions_but_not_go_on(tmp_path: Path, whole: bytes) -> None:
    other = SETTINGS.header("model", "Say!", "cuda")
    path = tmp_path / "run.jsonl"
    path.write_bytes(whole[:-20])
    with pytest.raises(OutputError, match="device 'cpu'; this run has 'cuda'"):
        CaptionFile.open(path, SETTINGS, PLAN).go_on(other)
    assert path.read_bytes() == whole[:-20]


@pytest.mark.parametrize("content", [b"notes\n", b"{}\n", b"notes", b'{"schema": "editkit.eval/1"}\n'])
def test_a_file_that_is_not_editkits_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="no captions file"):
        CaptionFile.open(path, SETTINGS, PLAN)
    assert path.read_bytes() == content


def test_lines_of_other_images_or_in_another_order_are_refused(tmp_path: Path, whole: bytes) -> None:
    header, first, second, *rest = whole.split(b"\n")
    path = tmp_path / "run.jsonl"
    for lines, told in (
        ([header, second, first, *rest], "line 2 is not the caption of 't0'"),
        ([header, first, b"{", *rest], "line 3 is no JSON"),
        ([header, first, b"1", *rest], "line 3 is no object"),
        ([header, first, second, *rest[:-1], first, b""], "has 7 captions, where the data have 6 images"),
    ):
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(OutputError, match=told):
            CaptionFile.open(path, SETTINGS, PLAN)


def test_two_runs_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    one, other = (CaptionFile.open(path, SETTINGS, PLAN) for _ in range(2))
    for file in (one, other):
        file.go_on(HEADER)
    one.append(PLAN[0], ["a", "b"], ["", ""])
    kept = path.read_bytes()
    with pytest.raises(OutputError, match="Another run"):
        other.append(PLAN[0], ["c", "d"], ["", ""])
    assert path.read_bytes() == kept
