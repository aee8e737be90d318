"""The command that is printed to be typed next: it keeps model and data, and leads where a result can be had."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import split

import pytest
from command_line import Ran, as_error, cache_at, done, run
from models import table, tiny_clip, visu

FAST = ("--workers", 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, tuples with and without captions, a ViSU folder, and a cache for all tests here."""
    root = tmp_path_factory.mktemp("next")
    tiny_clip(root / "model")
    table(root / "pairs")
    table(root / "images", columns=("safe_image", "unsafe_image"))
    visu(root / "visu", 6, "test")
    with cache_at(root / "cache"):
        done("edit", *edits(root), "--data", root / "pairs" / "t.jsonl", "-o", root / "patch")
    return root


pytestmark = pytest.mark.usefixtures("beside_place")


def edits(place: Path) -> tuple[object, ...]:
    return ("--scorer", "uwm", "--tau", 0.2, "--model", place / "model", *FAST)


def following(ran: Ran) -> list[str]:
    """What is printed to be typed next, on either stream."""
    lines = (*ran.out.splitlines(), *ran.err.splitlines())
    return [line.removeprefix("Next: ") for line in lines if line.startswith("Next: ")]


def test_the_step_after_an_edit_keeps_model_and_data_set(place: Path) -> None:
    """`edit` reads one split of the data set, and `eval` another."""
    visu_train = place / "visu" / "ViSU-Text_train.json"
    if not visu_train.exists():
        visu_train.write_text((place / "visu" / "ViSU-Text_test.json").read_text())
    for part in ("coco", "unsafe"):
        train = place / "visu" / part / "train"
        if not train.exists():
            train.symlink_to(place / "visu" / part / "test")
    ran = done("edit", *edits(place), "--data", f"visu:{place / 'visu'}", "-o", "patch")
    (command,) = following(ran)
    assert command == (f"editkit eval safeground --model {place / 'model'} --data visu:{place / 'visu'} --patch patch")
    done(*split(command)[1:], *FAST)


def test_what_calibrated_an_edit_is_not_what_measures_it(place: Path) -> None:
    pairs = place / "pairs" / "t.jsonl"
    ran = done("edit", *edits(place), "--data", pairs, "-o", "patch")
    assert following(ran) == [f"editkit apply patch {place / 'model'} -o patch-model"]
    assert "These tuples calibrated the edit, and would flatter it." in ran.err
    assert f"editkit eval safeground --model {place / 'model'} --data NAME:PATH --patch patch" in ran.err
    applied = done("apply", "patch", place / "model", "-o", "edited")
    assert [command.split()[1] for command in following(applied)] == ["revert"] and "NAME:PATH" in applied.err
    assert json.loads(done("apply", "patch", place / "model", "-o", "again", "--json").out)["next"] == [
        "editkit revert patch again -o again-reverted"
    ]


def test_a_split_that_was_calibrated_on_is_not_evaluated_either() -> None:
    flags = ("--scorer", "magnitude", "--limit", 6, *FAST)
    ran = done("edit", "--scorer", "uwm", "--limit", 6, *FAST, "--split", "test", "-o", "patch")
    assert following(ran) == ["editkit apply patch demo -o patch-model"]
    assert following(done("edit", *flags, "--split", "test", "-o", "scored")) == [
        "editkit eval safeground --patch scored"  # weights alone were looked at
    ]


def test_tuples_without_captions_are_not_sent_to_an_evaluation(place: Path) -> None:
    data = ("--data", f"pairs:{place / 'images' / 't.jsonl'}", "--target", "vision:mlp.out")
    ran = done("edit", *edits(place), *data, "-o", "patch")
    assert [command.split()[1] for command in following(ran)] == ["apply"]
    assert "These tuples lack images or captions, and an evaluation compares both." in ran.err


def test_settings_of_the_data_are_printed_as_they_can_be_typed_again(place: Path) -> None:
    pattern = 'data.unsafe_pattern="{split}/./sd-ntsw/unsafe/original/{incremental_id}/0.jpg"'
    ran = done("eval", "safeground", *edits(place)[4:], "--data", f"visu:{place / 'visu'}", "--set", pattern)
    (command,) = following(ran)
    assert command.endswith(f"--data visu:{place / 'visu'} --set '{pattern}'")
    done(*split(command)[1:], "--split", "test", "--dry-run")


def test_a_pattern_that_is_no_yaml_is_refused_with_what_to_write() -> None:
    ran = run("plan", "--set", "data.unsafe_pattern={split}/{incremental_id}.png")
    assert """--set 'data.unsafe_pattern="{split}/{incremental_id}.png"'""" in as_error(ran)


def test_the_step_after_an_evaluation_keeps_model_and_data_but_not_the_evaluated_tuples(place: Path) -> None:
    kept = done("eval", "safeground", "--model", place / "model", "--limit", 6, *FAST)
    assert following(kept) == [f"editkit edit --scorer uwm --alpha -1 --tau 0.02 --model {place / 'model'}"]
    alone = done("eval", "safeground", "--model", place / "model", "--data", place / "pairs" / "t.jsonl", *FAST)
    assert following(alone) == [] and "An edit is to be calibrated on other tuples than these." in alone.err


def test_show_leads_on_from_several_patches_with_their_model(place: Path) -> None:
    ran = done("show", place / "patch", place / "patch")
    assert following(ran) == [] and f"--model {place / 'model'} --data NAME:PATH --patch" in ran.err
