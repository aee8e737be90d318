"""A patch that is damaged, or given other weights than its own, is refused, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import digests, model_folder, random_bits, save, tensors
from tiny_patches import SIGN, negated, refused

from editkit.errors import PatchError
from editkit.files.checkpoint import Checkpoint
from editkit.patch.patch import Patch


def rewrite_weights(model: Path, key: str, change: Callable[[Any], Any]) -> None:
    """Write the model's only shard again with one tensor changed."""
    content = tensors()
    dtype, bits = content[key]
    save(model / "model.safetensors", {**content, key: (dtype, change(bits.copy()))})


def flip_first(bits: Any) -> Any:
    bits.reshape(-1)[0] ^= 1
    return bits


# invariant 2: nothing but the weights it was made from


def test_a_second_apply_is_refused(model: Path, saved: Path, tmp_path: Path) -> None:
    patch = Patch.load(saved)
    patch.apply(model, tmp_path / "edited")
    assert "revert" in refused(patch, tmp_path / "edited", "already applied").remedy


def test_reverting_the_base_is_refused(model: Path, saved: Path) -> None:
    refused(Patch.load(saved), model, "nothing to revert", revert=True)


def test_invariant_2_another_value_in_a_touched_tensor_is_refused(model: Path, saved: Path) -> None:
    rewrite_weights(model, "a.weight", lambda bits: bits ^ 1)
    refused(Patch.load(saved), model, r"'a\.weight' .*does not hold the weights this patch was made from")
    refused(Patch.load(saved), model, "does not hold", allow_other_tensors=True)


def test_invariant_2_one_bit_beside_the_touched_elements_is_refused(model: Path, saved: Path) -> None:
    def flip_second(bits: Any) -> Any:
        bits.reshape(-1)[1] ^= 1
        return bits

    rewrite_weights(model, "a.weight", flip_second)
    refused(Patch.load(saved), model, r"'a\.weight'", allow_other_tensors=True)


def test_invariant_2_a_difference_elsewhere_is_refused_unless_allowed(model: Path, saved: Path, tmp_path: Path) -> None:
    rewrite_weights(model, "a.bias", flip_first)
    assert "--allow-other-tensors" in refused(Patch.load(saved), model, "does not touch differ").remedy
    patch = Patch.load(saved)
    patch.apply(model, tmp_path / "edited", allow_other_tensors=True)
    patch.revert(tmp_path / "edited", tmp_path / "restored", allow_other_tensors=True)
    assert digests(tmp_path / "restored") == digests(model)


def test_a_tensor_more_than_the_base_had_is_counted(model: Path, saved: Path) -> None:
    save(model / "model.safetensors", {**tensors(), "more": ("F32", random_bits(9, "F32", 2))})
    refused(Patch.load(saved), model, r"6 tensors here, 5 there")


def test_half_an_edit_is_neither_base_nor_edited(model: Path, saved: Path) -> None:
    rewrite_weights(model, "b.weight", lambda bits: bits ^ SIGN["F32"])
    refused(Patch.load(saved), model, r"'b\.weight'")
    refused(Patch.load(saved), model, r"'a\.weight'", revert=True)


def test_another_dtype_says_so(tmp_path: Path, saved: Path) -> None:
    other = model_folder(tmp_path / "half", "F16")
    assert "F32 checkpoint" in refused(Patch.load(saved), other, "is F16 in .*made from F32").remedy


def test_bf16_is_not_taken_for_fp16(tmp_path: Path) -> None:
    patch = negated(model_folder(tmp_path / "m", "F16"))
    refused(patch, model_folder(tmp_path / "b", "BF16"), "is BF16 in .*made from F16")


def test_another_shape_and_a_missing_tensor_say_so(model: Path, saved: Path) -> None:
    rewrite_weights(model, "a.weight", lambda bits: bits.T.copy())
    refused(Patch.load(saved), model, r"has the shape \[10, 12\].*\[12, 10\]")
    save(model / "model.safetensors", {key: tensor for key, tensor in tensors().items() if key != "a.weight"})
    refused(Patch.load(saved), model, r"has no tensor 'a\.weight'")


def test_a_patch_is_bound_to_the_checkpoint_of_its_changes(model: Path, tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", seed=7)
    with pytest.raises(PatchError, match="was not made from"):
        Patch.create(Checkpoint.open(other), negated(model).changes, {})


# damaged patches


@pytest.mark.parametrize("keep", [0, 8, 100, -1])
def test_a_truncated_patch_is_refused(saved: Path, keep: int) -> None:
    tensors_file = saved / "patch.safetensors"
    tensors_file.write_bytes(tensors_file.read_bytes()[:keep])
    with pytest.raises(PatchError, match="is damaged"):
        Patch.load(saved)


def test_a_flipped_bit_in_a_patch_is_found(saved: Path) -> None:
    raw = bytearray((saved / "patch.safetensors").read_bytes())
    raw[-1] ^= 1
    (saved / "patch.safetensors").write_bytes(raw)
    with pytest.raises(PatchError, match="is damaged"):
        Patch.load(saved)


@pytest.mark.parametrize("name", ["patch.safetensors", "record.json"])
def test_a_folder_that_lacks_a_file_is_no_patch(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(PatchError, match=f"is not a patch: {name} is missing"):
        Patch.load(saved)


def test_a_folder_that_does_not_exist_is_no_patch(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match="no such folder"):
        Patch.load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "editkit.patch/1", "base": {"touched": []}}'])
def test_a_record_that_is_none_is_refused(saved: Path, text: str) -> None:
    (saved / "record.json").write_text(text)
    with pytest.raises(PatchError, match=r"damaged: record\.json"):
        Patch.load(saved)


def test_a_format_of_the_future_is_refused(saved: Path) -> None:
    edit_record(saved, lambda record: record.update(format="editkit.patch/2"))
    with pytest.raises(PatchError, match=r"editkit\.patch/2"):
        Patch.load(saved)


def edit_record(patch: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads((patch / "record.json").read_text())
    edit(record)
    (patch / "record.json").write_text(json.dumps(record))


def test_a_record_edited_by_hand_is_found_when_it_is_applied(model: Path, saved: Path) -> None:
    edit_record(saved, lambda record: record["base"]["touched"]["a.weight"].update(after="0" * 64))
    refused(Patch.load(saved), model, "patch is damaged")


def test_a_record_that_lists_other_tensors_is_refused(saved: Path) -> None:
    edit_record(saved, lambda record: record["base"]["touched"].pop("a.weight"))
    with pytest.raises(PatchError, match="other tensors than"):
        Patch.load(saved)


Columns = dict[str, tuple[str, Any]]


def forge(saved: Path, edit: Callable[[Columns], Any]) -> None:
    """Write patch.safetensors anew with changed columns, and a record that vouches for it."""
    checkpoint = Checkpoint.open(saved / "patch.safetensors")
    columns = {name: (info.dtype, checkpoint.read(name)) for name, info in checkpoint.tensors.items()}
    edit(columns)
    from editkit.files.shard import write_shard
    from editkit.patch.record_file import file_facts

    write_shard(saved / "patch.safetensors", [(n, d, b.shape, b) for n, (d, b) in columns.items()], {})
    facts = file_facts(saved / "patch.safetensors")
    edit_record(saved, lambda record: record["files"].update({"patch.safetensors": facts}))


FORGERIES: dict[str, Callable[[Columns], Any]] = {
    "not sorted": lambda c: c.update({"index:a.weight": ("U32", c["index:a.weight"][1][::-1].copy())}),
    "out of range": lambda c: c.update({"index:a.weight": ("U32", c["index:a.weight"][1] + 100)}),
    "different lengths": lambda c: c.update({"before:a.weight": ("F32", c["before:a.weight"][1][:-1])}),
    "does not hold the change": lambda c: c.pop("after:a.weight"),
    "is not in F32": lambda c: c.update({"after:a.weight": ("U32", c["after:a.weight"][1])}),
    "no list of positions": lambda c: c.update({"index:a.weight": ("I32", c["index:a.weight"][1])}),
    "other tensors than": lambda c: c.update({"before:more": c["before:a.weight"]}),
    "'b.weight', its columns": lambda c: c.update({"after:b.weight": ("F32", c["after:b.weight"][1][:1])}),
}


@pytest.mark.parametrize("why", FORGERIES)
def test_a_forged_patch_is_refused(saved: Path, why: str) -> None:
    forge(saved, FORGERIES[why])
    with pytest.raises(PatchError, match=f"is damaged.*{why}"):
        Patch.load(saved)


def test_a_forged_value_is_found_before_anything_is_written(model: Path, saved: Path) -> None:
    forge(saved, lambda c: flip_first(c["after:a.weight"][1]))
    refused(Patch.load(saved), model, r"damaged: its change of 'a\.weight'")
