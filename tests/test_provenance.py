"""A folder of edited weights says what it is, and a reverted one is the base's, file for file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import done
from models import table, tiny_clip
from tiny_checkpoints import digests, listing, model_folder
from tiny_patches import negated

from editkit.patch.patch import Patch
from editkit.patch.provenance import patch_digest

CARD = "EDITKIT.md"


def readme(model: Path) -> Path:
    """Give a folder the card that its publisher wrote, without a line break at its end."""
    (model / "README.md").write_text("---\nlicense: mit\n---\n# The base")
    return model


@pytest.mark.parametrize("towers", ["both", "one"])
def test_saving_and_applying_write_the_same_card(towers: str, tmp_path: Path) -> None:
    model = readme(tiny_clip(tmp_path / "model"))
    target = ("--target", "vision:mlp.out") if towers == "one" else ()
    flags = ("--model", model, "--data", table(tmp_path / "data", 4), "--workers", 0, *target)
    done("edit", *flags, "-o", tmp_path / "patch", "--save", tmp_path / "saved")
    done("apply", tmp_path / "patch", model, "-o", tmp_path / "applied")
    assert digests(tmp_path / "saved") == digests(tmp_path / "applied")
    card = (tmp_path / "saved" / CARD).read_text()
    record = Patch.load(tmp_path / "patch").record
    assert f"- base: `{model}`\n" in card and f"- patch: `{patch_digest(record)}`" in card
    assert "- vision: uwm" in card and ("- text: uwm" in card) == (towers == "both")
    assert ("- text: not edited" in card) == (towers == "one")
    assert "editkit revert" in card
    assert (tmp_path / "saved" / "README.md").read_bytes() == (model / "README.md").read_bytes()
    done("revert", tmp_path / "patch", tmp_path / "saved", "-o", tmp_path / "restored")
    assert digests(tmp_path / "restored") == digests(model)


def test_of_a_model_of_the_hub_the_card_names_the_commit(model: Path, tmp_path: Path) -> None:
    patch = negated(model)
    named = Patch(patch.changes, {**patch.record, "model": {"source": "org/name", "commit": "c0ffee"}})
    named.apply(model, tmp_path / "edited")
    assert "- base: `org/name` at commit `c0ffee`\n" in (tmp_path / "edited" / CARD).read_text()


def test_an_edit_of_an_edited_model_adds_to_the_card_and_each_is_reverted_by_itself(tmp_path: Path) -> None:
    base = readme(model_folder(tmp_path / "base"))
    one = negated(base, dense=())
    one.apply(base, tmp_path / "one")
    two = negated(tmp_path / "one", sparse=())
    two.apply(tmp_path / "one", tmp_path / "two")
    first, both = ((tmp_path / name / CARD).read_text() for name in ("one", "two"))
    assert both.startswith(first) and both.count("# Weights edited with editkit") == 2
    two.revert(tmp_path / "two", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(tmp_path / "one")
    one.revert(tmp_path / "two", tmp_path / "second", allow_other_tensors=True)
    assert (tmp_path / "second" / CARD).read_text() == both.removeprefix(first)
    one.revert(tmp_path / "back", tmp_path / "restored")
    assert digests(tmp_path / "restored") == digests(base)


@pytest.mark.parametrize("own", [b"a file of mine", b"\xff\xfe no text\r\n"])
def test_a_file_of_that_name_that_was_there_is_given_back(own: bytes, model: Path, tmp_path: Path) -> None:
    (model / CARD).write_bytes(own)
    patch = negated(model)
    patch.apply(model, tmp_path / "edited")
    assert (tmp_path / "edited" / CARD).read_bytes().startswith(own + b"<!-- editkit patch ")
    patch.revert(tmp_path / "edited", tmp_path / "restored")
    assert digests(tmp_path / "restored") == digests(model)


def test_a_folder_from_before_there_were_cards_is_reverted(model: Path, tmp_path: Path) -> None:
    patch = negated(model)
    patch.apply(model, tmp_path / "edited")
    (tmp_path / "edited" / CARD).unlink()
    patch.revert(tmp_path / "edited", tmp_path / "restored")
    assert digests(tmp_path / "restored") == digests(model)


def test_the_copy_of_a_pipelines_part_can_take_its_place(tmp_path: Path) -> None:
    part = tiny_clip(tmp_path / "pipeline" / "text_encoder")
    (part / "model.safetensors").rename(part / "model.fp16.safetensors")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    patch = negated(part, sparse=("text_projection.weight",), dense=())
    patch.apply(part, tmp_path / "edited")
    assert listing(tmp_path / "edited") == sorted([CARD, *listing(part)])
    base = digests(part)
    shutil.rmtree(part)
    shutil.copytree(tmp_path / "edited", part)
    patch.revert(part, tmp_path / "restored")
    assert digests(tmp_path / "restored") == base
