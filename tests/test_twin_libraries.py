"""A folder with two libraries' files is one model: which of its weights are read, edited, and left out by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command_line import as_error, cache_at, done, run
from hub_open_clip_repositories import laion, openai_by_timm, openai_settings
from models import elements, images_of, table
from safetensors.torch import load_file, save_file
from tiny_checkpoints import digests
from torch import Tensor

import editkit

OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Like timm/vit_base_patch16_clip_224.openai and like laion/CLIP-ViT-B-32, whose two models differ here."""
    root = tmp_path_factory.mktemp("twins")
    openai_by_timm(root / "timm", openai_settings(), "vit_base_patch16_clip_224")
    laion(root / "laion")
    weights = root / "laion" / OPEN_CLIP[1]
    tensors = {key: tensor + 0.01 for key, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    table(root, 4)
    with cache_at(root / "cache"):
        yield root


CASES = {
    "timm": ("timm", OPEN_CLIP[1], "model.safetensors"),
    "laion": ("laion", "model.safetensors", OPEN_CLIP[1]),
    "laion by open_clip": ("open_clip:laion", OPEN_CLIP[1], "model.safetensors"),
}
"""What is given as the model, the file that holds it, and the twin that is left out."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, place: Path) -> tuple[str, Path, str, str]:
    source, weights, twin = CASES[request.param]
    prefix, colon, name = source.rpartition(":")
    return f"{prefix}{colon}{place / name}", place / name, weights, twin


def items() -> tuple[list[Path], list[str]]:
    images = [images_of(element, "test")[0] for element in elements("test")[:2]]
    return images, ["a dog in the park", "two people at a table"]


def scores(source: str | Path, *patches: Path) -> Tensor:
    return editkit.load(str(source), patches=patches).scores(*items())


def flags(source: str | Path, place: Path) -> tuple[object, ...]:
    return ("--model", source, "--data", place / "t.jsonl", "--workers", 0)


def test_the_weights_are_those_of_the_library_that_reads_the_folder(
    case: tuple[str, Path, str, str], tmp_path: Path
) -> None:
    source, folder, weights, _ = case
    copy = shutil.copytree(folder, tmp_path / "alone")
    for path in copy.iterdir():
        if path.suffix in (".safetensors", ".bin") and path.name != weights:
            path.unlink()
    if weights == OPEN_CLIP[1]:
        (copy / "config.json").unlink()
    else:
        (copy / OPEN_CLIP[0]).unlink()
    assert torch.equal(scores(source), scores(copy))


def test_an_edit_is_of_both_towers_and_leaves_the_twin_out_by_name(
    case: tuple[str, Path, str, str], place: Path, tmp_path: Path
) -> None:
    source, folder, weights, twin = case
    patch, saved, applied = tmp_path / "p", tmp_path / "saved", tmp_path / "applied"
    ran = done("edit", *flags(source, place), "-o", patch, "--save", saved)
    record = json.loads((patch / "record.json").read_text())
    assert record["towers"]["edited"] == ["text", "vision"]
    assert twin in ran.flat and not (saved / twin).exists() and (saved / weights).is_file()
    ran = done("apply", patch, source, "-o", applied)
    assert twin in " ".join((ran.out + ran.err).split()) and digests(applied) == digests(saved)
    by_folder = done("apply", patch, folder, "-o", tmp_path / "by-folder")
    assert by_folder.code == 0 and digests(tmp_path / "by-folder") == digests(saved)
    done("revert", patch, saved, "-o", tmp_path / "restored")
    assert (tmp_path / "restored" / weights).read_bytes() == (folder / weights).read_bytes()
    ran = run("diff", source, saved)
    assert ran.code == 3 and "attn" in ran.out
    prefix = source.removesuffix(str(folder))
    assert torch.equal(scores(f"{prefix}{saved}"), scores(source, patch))


def test_an_evaluation_takes_the_patch_of_the_same_weights(
    case: tuple[str, Path, str, str], place: Path, tmp_path: Path
) -> None:
    source = case[0]
    done("edit", *flags(source, place), "-o", tmp_path / "p")
    ran = done("eval", "retrieval", *flags(source, place), "--patch", tmp_path / "p", "--no-controls", "--json")
    assert len(ran.json["models"]) == 2


def test_a_clip_has_no_captions_whoever_packed_it(place: Path) -> None:
    message = as_error(run("eval", "captioning", "--model", place / "timm", "--data", place / "t.jsonl"))
    assert "caption" in message


def test_the_archives_of_two_libraries_are_told_apart(place: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(place / "laion", tmp_path / "model")
    for name in ("model.safetensors", OPEN_CLIP[1]):
        (folder / name).unlink()
    assert torch.equal(scores(folder), scores(place / "laion"))
    done("edit", *flags(folder, place), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    done("apply", tmp_path / "p", folder, "-o", tmp_path / "applied")
    assert digests(tmp_path / "saved") == digests(tmp_path / "applied")
