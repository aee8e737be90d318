"""Blending with another checkpoint, whole or at chosen sites: bits, record, report, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from blends import blend, same_bits, tensors
from command_line import as_error, done, run
from models import DTYPES, OPEN_CLIP, table, tiny_clip, tiny_open_clip
from safetensors.torch import load_file, save_file
from tiny_checkpoints import digests, listing

import editkit
from editkit.files.checkpoint import Checkpoint
from editkit.patch.patch import Patch

KINDS = [(dtype, False) for dtype in DTYPES] + [("float32", True)]
EVERY_KIND = pytest.mark.parametrize(
    ("dtype", "sharded"), KINDS, ids=[f"{dtype}{'-sharded' * sharded}" for dtype, sharded in KINDS]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("whole") / "other", seed=1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("whole"), 6)


# blending everything


@EVERY_KIND
def test_blending_all_with_amount_one_is_the_other_checkpoint_bit_for_bit(
    dtype: str, sharded: bool, tmp_path: Path
) -> None:
    base = tiny_clip(tmp_path / "base", dtype, sharded=sharded)
    other = tiny_clip(tmp_path / "other", dtype, sharded=sharded, seed=1)
    done("edit", *blend(base, other), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    done("apply", tmp_path / "p", base, "-o", tmp_path / "applied")
    assert not same_bits(tensors(base), tensors(other))
    for place in ("saved", "applied"):
        assert same_bits(tensors(tmp_path / place), tensors(other))
    done("revert", tmp_path / "p", tmp_path / "applied", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(base)


@EVERY_KIND
def test_blending_all_with_amount_one_half_is_the_float32_mean_rounded_once(
    dtype: str, sharded: bool, tmp_path: Path
) -> None:
    base = tiny_clip(tmp_path / "base", dtype, sharded=sharded)
    other = tiny_clip(tmp_path / "other", dtype, sharded=sharded, seed=1)
    half = blend(base, other, "--set", "manipulator.amount=0.5")
    done("edit", *half, "-o", tmp_path / "p", "--save", tmp_path / "saved")
    theirs = tensors(other)
    mean = {key: (0.5 * mine.float() + 0.5 * theirs[key].float()).to(mine.dtype) for key, mine in tensors(base).items()}
    assert same_bits(tensors(tmp_path / "saved"), mean)


def test_shards_and_dtypes_of_the_two_checkpoints_may_differ(model: Path, tmp_path: Path) -> None:
    other = tiny_clip(tmp_path / "other", "bfloat16", sharded=True, seed=1)
    done("edit", *blend(model, other), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    assert same_bits(tensors(tmp_path / "saved"), {key: tensor.float() for key, tensor in tensors(other).items()})


def test_tensors_that_both_share_are_no_part_of_the_patch(model: Path, other: Path, tmp_path: Path) -> None:
    held = tensors(model) | {key: tensor for key, tensor in tensors(other).items() if "vision" in key}
    copy = tiny_clip(tmp_path / "copy")
    save_file(held, copy / "model.safetensors", metadata={"format": "pt"})
    done("edit", *blend(model, copy), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    record = json.loads((tmp_path / "p" / "record.json").read_text())
    assert record["base"]["touched"].keys() == {key for key in held if "vision" in key}
    assert same_bits(tensors(tmp_path / "saved"), held)


def test_a_checkpoint_blended_with_itself_changes_nothing_and_is_refused(model: Path, tmp_path: Path) -> None:
    assert "The edit changes no weight" in as_error(run("edit", *blend(model, model), "-o", tmp_path / "p"))
    assert "The edit changes no weight" in as_error(
        run("edit", *blend(model, model, "--set", "manipulator.amount=0.3"), "-o", tmp_path / "p")
    )
    assert listing(tmp_path) == []


def test_open_clip_checkpoints_blend_too(tmp_path: Path) -> None:
    weights = tiny_open_clip(tmp_path / "open-clip")
    draw = torch.Generator().manual_seed(1)
    moved = {key: tensor + torch.randn(tensor.shape, generator=draw) for key, tensor in load_file(weights).items()}
    save_file(moved, tmp_path / "other.safetensors")
    sources = [f"open_clip:{OPEN_CLIP}@{file}" for file in (weights, tmp_path / "other.safetensors")]
    done("edit", *blend(*sources), "-o", tmp_path / "p", "--save", tmp_path / "saved")
    assert same_bits(tensors(tmp_path / "saved"), moved)


# blending a selection


def test_a_selection_blends_and_the_rest_stays(model: Path, other: Path, pairs: Path, tmp_path: Path) -> None:
    flags = blend(model, other, "--data", pairs, "--scorer", "uwm", "--tau", 0.3, target="*:mlp.out")
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "saved")
    scaled = ("--model", model, "--data", pairs, "--workers", 0, "--tau", 0.3, "--alpha", 0.5, "--target", "*:mlp.out")
    done("edit", *scaled, "-o", tmp_path / "scaled")
    chosen = {key: change.index for key, change in Patch.load(tmp_path / "scaled").changes.items()}
    mine, theirs, found = tensors(model), tensors(other), tensors(tmp_path / "saved")
    assert len(chosen) == 4
    for key, tensor in mine.items():
        expected = tensor.clone().view(-1)
        if (index := chosen.get(key)) is not None:
            assert 0 < len(index) < tensor.numel() / 2
            places = torch.from_numpy(index.astype("int64"))
            expected[places] = theirs[key].view(-1)[places]
        assert torch.equal(found[key].view(-1), expected), key


def test_only_the_targets_of_the_other_checkpoint_are_taken(model: Path, other: Path, tmp_path: Path) -> None:
    flags = blend(model, other, "--selector", "all", target="text:proj")
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "s")
    expected = tensors(model) | {"text_projection.weight": tensors(other)["text_projection.weight"]}
    assert same_bits(tensors(tmp_path / "s"), expected)


# the record


def test_the_record_names_the_other_checkpoint_by_its_identity(model: Path, other: Path, tmp_path: Path) -> None:
    done("edit", *blend(model, other), "-o", tmp_path / "p")
    done("edit", *blend(model, other, target="text:proj"), "--selector", "all", "-o", tmp_path / "text")
    identity = Checkpoint.open(other).identity()
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("p", "text")]
    assert records[0]["other_checkpoints"] == {"text": identity, "vision": identity}
    assert records[1]["other_checkpoints"] == {"text": identity}
    assert records[0]["recipe"]["text"]["manipulator"] == {"name": "blend", "model": str(other), "amount": 1.0}
    assert records[0]["recipe"]["targets"] == ["all"] and "data" not in records[0]


def test_nothing_is_loaded_or_warned_about(
    model: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TransformersClip, "load", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done("edit", *blend(model, other), "-o", tmp_path / "p")


def test_show_says_what_it_is(model: Path, other: Path, tmp_path: Path) -> None:
    done("edit", *blend(model, other), "-o", tmp_path / "p")
    shown, held = done("show", tmp_path / "p"), tensors(model)
    total = sum(tensor.numel() for tensor in held.values())
    assert f"blend (model {other}, amount 1.0)" in shown.flat
    assert f"in {len(held)} tensors (F32)" in shown.flat and f"{len(held)} sites {total:,}" in shown.flat
    [summary] = done("show", "--json", tmp_path / "p").json["patches"]
    theirs = tensors(other)
    changed = sum(int((tensor != theirs[key]).sum()) for key, tensor in held.items())
    assert summary["weights"] == changed and summary["tensors"] == len(held)


def test_an_evaluation_of_the_patch_is_that_of_the_other_checkpoint(
    model: Path, other: Path, pairs: Path, tmp_path: Path
) -> None:
    done("edit", *blend(model, other), "-o", tmp_path / "p")
    common: dict[str, Any] = {"data": str(pairs), "controls": False, "settings": {"compute.workers": 0}}
    for evaluation in ("safeground", "retrieval"):
        edited = editkit.evaluate(evaluation, model=model, patches=[tmp_path / "p"], **common)
        alone = editkit.evaluate(evaluation, model=other, **common)
        base, patched = edited["models"]
        assert patched["metrics"] == alone["models"][0]["metrics"] != base["metrics"]


def test_an_evaluation_has_controls_for_it(model: Path, other: Path, pairs: Path, tmp_path: Path) -> None:
    done("edit", *blend(model, other), "-o", tmp_path / "p")
    report = editkit.evaluate(model=model, data=str(pairs), patches=[tmp_path / "p"], settings={"compute.workers": 0})
    assert report["controls"]


# refusals, before any work


def refused_at_once(said: str, other: Path | str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that both `plan` and `edit` refuse, for all tensors and for sites, and that no tensor was read."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a tensor was read")

    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "read", refuse)
        for target in ("all", "text:attn.out"):
            flags = blend(model, other, "--selector", "all", target=target)
            errors = [as_error(run("plan", *flags)), as_error(run("edit", *flags, "-o", tmp_path / "p"))]
            assert errors[0] == errors[1] and said in errors[0], errors
            assert "same architecture" in errors[0] or "config.json" in errors[0]
    assert listing(tmp_path) == before


def test_another_architecture_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_at_once("is of another architecture than", Path("demo"), model, tmp_path, monkeypatch)


@pytest.mark.parametrize("lacking", ["text_model.encoder.layers.1.self_attn.out_proj.weight", "logit_scale"])
def test_a_missing_tensor_is_refused(
    lacking: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_clip(tmp_path / "other", seed=1)
    held = tensors(other)
    del held[lacking]
    save_file(held, other / "model.safetensors", metadata={"format": "pt"})
    refused_at_once(f"{lacking} is missing there", other, model, tmp_path, monkeypatch)


def test_a_deeper_model_is_refused_though_it_has_every_tensor(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_clip(tmp_path / "other", seed=1)
    held = tensors(other)
    held |= {key.replace("layers.1", "layers.2"): tensor.clone() for key, tensor in held.items() if "layers.1" in key}
    save_file(held, other / "model.safetensors", metadata={"format": "pt"})
    refused_at_once("there and missing here (tensors that differ: 32)", other, model, tmp_path, monkeypatch)


def test_another_shape_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny_clip(tmp_path / "other", seed=1)
    held = tensors(other)
    held["text_projection.weight"] = torch.zeros(24, 31)
    save_file(held, other / "model.safetensors", metadata={"format": "pt"})
    said = "text_projection.weight is [24, 31] there and [24, 32] here"
    refused_at_once(said, other, model, tmp_path, monkeypatch)


def test_another_librarys_format_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"open_clip:{OPEN_CLIP}@{tiny_open_clip(tmp_path / 'open-clip')}"
    refused_at_once("is of another architecture than", source, model, tmp_path, monkeypatch)


def test_a_checkpoint_that_does_not_exist_is_refused(model: Path, tmp_path: Path) -> None:
    assert "There is no model folder" in as_error(run("edit", *blend(model, tmp_path / "none"), "-o", tmp_path / "p"))


def test_blend_needs_the_other_checkpoint(model: Path) -> None:
    flags = ("--model", model, "--manipulator", "blend", "--target", "all")
    assert "manipulator.model has to be given" in as_error(run("plan", *flags))
