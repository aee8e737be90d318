"""A patch knows the model that it was made from, wherever it is read; an error says which patch it means."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import as_error, cache_at, done, run
from models import OPEN_CLIP, table, tiny_clip, tiny_open_clip

import editkit
from editkit.errors import PatchError

FAST = ("--workers", 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one architecture with an edit of each, made with relative paths."""
    root = tmp_path_factory.mktemp("models")
    table(root / "pairs")
    here = Path.cwd()
    os.chdir(root)
    with cache_at(root / "cache"):
        for seed, name in enumerate(("one", "other")):
            tiny_clip(root / name, seed=seed)
            flags = ("--scorer", "magnitude", "--tau", 0.2, "--data", "pairs/t.jsonl", *FAST)
            done("edit", "--model", f"./{name}", *flags, "-o", f"of-{name}")
    os.chdir(here)
    return root


pytestmark = pytest.mark.usefixtures("beside_place")


def evaluated(place: Path, *patches: str) -> tuple[object, ...]:
    given = [word for patch in patches for word in ("--patch", place / patch)]
    return ("eval", "retrieval", *given, "--data", place / "pairs" / "t.jsonl", *FAST, "--no-controls")


def test_a_record_has_the_models_absolute_path_so_that_a_patch_can_be_evaluated_anywhere(place: Path) -> None:
    record = json.loads((place / "of-one" / "record.json").read_text())
    assert record["model"]["source"] == str(place / "one")
    report = done(*evaluated(place, "of-one"), "--json").json
    assert report["run"]["model"]["source"] == str(place / "one")
    assert f"editkit apply {place / 'of-one'} {place / 'one'}" in done("show", place / "of-one").out


def test_names_that_are_no_paths_are_recorded_as_they_are(place: Path, tmp_path: Path) -> None:
    Path("demo").mkdir()
    done("edit", "--scorer", "magnitude", "-o", "patch")
    assert json.loads(Path("patch/record.json").read_text())["model"]["source"] == "demo"
    weights = tiny_open_clip(tmp_path / "open")
    source = f"open_clip:{OPEN_CLIP}@{weights.relative_to(tmp_path)}"
    done("edit", "--scorer", "magnitude", "--model", source, "-o", "other")
    assert json.loads(Path("other/record.json").read_text())["model"]["source"] == f"open_clip:{OPEN_CLIP}@{weights}"


def test_a_model_that_is_gone_is_told_with_the_patch_whose_record_names_it(place: Path) -> None:
    (place / "one").rename(place / "moved")
    try:
        message = as_error(run(*evaluated(place, "of-one")))
        assert f"The record of patch {place / 'of-one'} names the model {place / 'one'}." in message
        assert "There is no model folder" in message and "--model MODEL" in message
        done(*evaluated(place, "of-one"), "--model", place / "moved")
        assert "The record of" not in as_error(run(*evaluated(place, "of-one"), "--model", place / "one"))
    finally:
        (place / "moved").rename(place / "one")


def test_patches_of_different_models_are_refused_with_the_model_of_each(place: Path) -> None:
    message = as_error(run(*evaluated(place, "of-one", "of-other")))
    assert f"{place / 'of-one'} from {place / 'one'}; {place / 'of-other'} from {place / 'other'}" in message


def test_an_error_says_which_of_several_patches_it_means(place: Path) -> None:
    message = as_error(run(*evaluated(place, "of-one", "of-other"), "--model", place / "one"))
    assert (
        f"Patch {place / 'of-other'}, by its record made from {place / 'other'}, does not fit {place / 'one'}"
        in message
    )
    assert "--allow-other-tensors" not in message  # which only `apply` and `revert` have
    with pytest.raises(PatchError, match="of-other, by its record made from"):
        editkit.load(str(place / "one"), patches=[place / "of-other"])


def test_one_model_in_two_places_serves_patches_of_both(place: Path, tmp_path: Path) -> None:
    record = place / "of-one" / "record.json"
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in record.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    facts = json.loads(record.read_text())
    facts["model"]["source"] = "/elsewhere/one"
    (copy / "record.json").write_text(json.dumps(facts))
    names = done(*evaluated(place, "of-one"), "--patch", copy, "--json").json["models"]
    assert [row["name"] for row in names] == ["base", "of-one", "copy"]
