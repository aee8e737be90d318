"""A patch applies only to the weights it was made from, and reverts to the exact bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_checkpoints import digests, listing, model_folder, random_bits, save, tensors

from editkit import applying, outputs
from editkit.change import Change
from editkit.checkpoint import Checkpoint
from editkit.errors import EditkitError, ModelError, OutputError, PatchError
from editkit.patch import Patch
from editkit.shard import unsigned

SIGN = {"F32": 1 << 31, "F16": 1 << 15, "BF16": 1 << 15}


def negated(model: Path, *, sparse: tuple[str, ...] = ("a.weight",), dense: tuple[str, ...] = ("b.weight",)) -> Patch:
    """A patch that flips signs: of every ninth element of the sparse tensors, of every one of the dense ones."""
    checkpoint = Checkpoint.open(model)
    changes = {}
    for key in (*sparse, *dense):
        before = checkpoint.read(key)
        after = before.copy()
        after.reshape(-1)[:: 9 if key in sparse else 1] ^= SIGN[checkpoint.tensors[key].dtype]
        change = Change.between(key, checkpoint.tensors[key].dtype, before, after)
        assert change is not None
        changes[key] = change
    return Patch.create(checkpoint, changes, {"recipe": {"scorer": {"name": "uwm"}}})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


@pytest.fixture
def saved(model: Path, tmp_path: Path) -> Path:
    negated(model).save(tmp_path / "patch", "# card")
    return tmp_path / "patch"


def rewrite_weights(model: Path, key: str, change: Callable[[Any], Any]) -> None:
    """Write the model's only shard again with one tensor changed."""
    content = tensors()
    dtype, bits = content[key]
    save(model / "model.safetensors", {**content, key: (dtype, change(bits.copy()))})


def flip_first(bits: Any) -> Any:
    bits.reshape(-1)[0] ^= 1
    return bits


# the round trip


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_revert_restores_every_byte(tmp_path: Path, dtype: str, shards: int) -> None:
    model = model_folder(tmp_path / "model", dtype, shards=shards)
    before = digests(model)
    negated(model).save(tmp_path / "patch", "# card")
    patch = Patch.load(tmp_path / "patch")
    applied = patch.apply(model, tmp_path / "edited")
    assert applied.weights == 14 + 84
    assert digests(tmp_path / "edited").keys() == before.keys()
    assert digests(tmp_path / "edited") != before
    patch.revert(tmp_path / "edited", tmp_path / "restored")
    assert digests(tmp_path / "restored") == before
    assert digests(model) == before


def test_apply_changes_the_recorded_elements_and_no_others(model: Path, saved: Path, tmp_path: Path) -> None:
    Patch.load(str(saved)).apply(str(model), str(tmp_path / "edited"))
    base, edited = Checkpoint.open(model), Checkpoint.open(tmp_path / "edited")
    expected = base.read("a.weight").reshape(-1)
    expected[::9] ^= SIGN["F32"]
    assert np.array_equal(edited.read("a.weight").reshape(-1), expected)
    assert np.array_equal(edited.read("b.weight"), base.read("b.weight") ^ SIGN["F32"])
    assert edited.identity(without=["a.weight", "b.weight"]) == base.identity(without=["a.weight", "b.weight"])


@st.composite
def two_states(draw: st.DrawFn) -> tuple[str, Any, Any]:
    """A dtype, any bit patterns (NaNs, infinities, denormals), and the same with any elements changed to any others."""
    dtype = draw(st.sampled_from(["F32", "F16", "BF16", "F64", "U8", "I64"]))
    kind = unsigned(dtype)
    assert kind is not None
    shape = draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
    size = int(np.prod(shape, dtype=int))
    bits = st.integers(0, 2 ** (8 * kind.itemsize) - 1)
    before = np.array(draw(st.lists(bits, min_size=size, max_size=size)), kind).reshape(shape)
    after = before.copy()
    for place, value in draw(st.dictionaries(st.integers(0, size - 1), bits, min_size=1)).items():
        after.reshape(-1)[place] = value
    return dtype, before, after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.dictionaries(st.text(max_size=6), two_states(), min_size=1, max_size=4), data=st.data())
def test_apply_then_revert_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, states: dict[str, tuple[str, Any, Any]], data: st.DataObject
) -> None:
    states = {key: state for key, state in states.items() if key != "__metadata__"}
    root = tmp_path_factory.mktemp("law")
    save(root / "m" / "model.safetensors", {key: (dtype, before) for key, (dtype, before, _) in states.items()})
    expected = save(root / "x.safetensors", {key: (dtype, after) for key, (dtype, _, after) in states.items()})
    changes = [change for key, state in states.items() if (change := Change.between(key, *state)) is not None]
    if not changes:
        with pytest.raises(PatchError, match="changes no weight"):
            Patch.create(Checkpoint.open(root / "m"), changes, {})
        return
    Patch.create(Checkpoint.open(root / "m"), changes, {}).save(root / "p", "")
    patch = Patch.load(root / "p")
    patch.apply(root / "m", root / "edited")
    patch.revert(root / "edited", root / "restored")
    assert (root / "edited" / "model.safetensors").read_bytes() == expected.read_bytes()
    assert digests(root / "restored") == digests(root / "m")


def test_nan_payloads_and_the_sign_of_zero_are_kept(tmp_path: Path) -> None:
    nan_1, nan_2, signalling, plus, minus = 0x7FC00001, 0xFFC00002, 0x7F800001, 0, 0x80000000
    before = np.array([nan_1, nan_2, plus, minus, nan_1, 1, 2, 3, 4, 5, 6, 7, 8], "<u4")
    after = before.copy()
    after[:4] = [nan_2, signalling, minus, plus]  # equal or unordered as values; every one of them a change
    save(tmp_path / "m" / "model.safetensors", {"w": ("F32", before)})
    change = Change.between("w", "F32", before, after)
    assert change is not None and change.index is not None
    assert change.index.tolist() == [0, 1, 2, 3]
    patch = Patch.create(Checkpoint.open(tmp_path / "m"), [change], {})
    patch.apply(tmp_path / "m", tmp_path / "e")
    assert Checkpoint.open(tmp_path / "e").read("w").tolist() == after.tolist()
    patch.revert(tmp_path / "e", tmp_path / "r")
    assert Checkpoint.open(tmp_path / "r").read("w").tolist() == before.tolist()


def test_a_change_is_dense_beyond_a_third_and_none_when_equal() -> None:
    before = random_bits(0, "F32", 3, 4)
    for count, dense in ((0, None), (1, False), (4, False), (5, True), (12, True)):
        after = before.copy()
        after.reshape(-1)[:count] ^= 1
        change = Change.between("w", "F32", before, after)
        assert (None if change is None else change.index is None) is dense
        assert change is None or change.count == count


def test_bits_of_another_dtype_are_refused() -> None:
    bits = random_bits(0, "F32", 4)
    for wrong in (bits.view("<f4"), bits.astype("<u2"), bits[:2]):
        with pytest.raises(ValueError, match="^w: "):
            Change.between("w", "F32", bits, wrong)


def test_the_same_patch_has_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        negated(model).save(tmp_path / name, "# card")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    Patch.load(tmp_path / "one").save(tmp_path / "three", "# card")
    assert digests(tmp_path / "three") == digests(tmp_path / "one")


def test_a_patch_made_from_shards_applies_to_one_file(tmp_path: Path) -> None:
    sharded, single = model_folder(tmp_path / "s", shards=3), model_folder(tmp_path / "one")
    negated(sharded).apply(single, tmp_path / "edited")
    assert listing(tmp_path / "edited") == listing(single)


# invariant 2: nothing but the weights it was made from


def refused(patch: Patch, model: Path, match: str, *, revert: bool = False, **options: Any) -> EditkitError:
    """Apply, and check that it was refused in two lines, and that nothing was written or left behind."""
    around, inside = listing(model.parent), digests(model.parent)
    act = patch.revert if revert else patch.apply
    with pytest.raises(EditkitError, match=match) as caught:
        act(model, model.parent / "deep" / "output", **options)
    assert listing(model.parent) == around
    assert digests(model.parent) == inside
    assert "\n" not in caught.value.problem and "\n" not in caught.value.remedy
    return caught.value


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
    from editkit.patch_record import file_facts
    from editkit.shard import write_shard

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


# what is written, and where


def test_unedited_twins_are_left_out_and_named(model: Path, saved: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", ".git/HEAD"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("unedited")
    applied = Patch.load(saved).apply(model, tmp_path / "edited")
    assert set(applied.left_out) == {"pytorch_model.bin", "tf_model.h5", "onnx/"}
    expected = ["config.json", "extra", "extra/notes.txt", "model.safetensors", "tokenizer.json"]
    assert listing(tmp_path / "edited") == expected


def test_shards_behind_links_are_copied_as_files(tmp_path: Path) -> None:
    blobs = model_folder(tmp_path / "blobs", shards=2)
    snapshot = tmp_path / "snapshot"
    shutil.copytree(blobs, snapshot)
    for file in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"):
        (snapshot / file).unlink()
        (snapshot / file).symlink_to(blobs / file)
        (blobs / file).chmod(0o444)
    before = digests(blobs)
    negated(snapshot).apply(snapshot, tmp_path / "edited")
    assert not any(path.is_symlink() for path in (tmp_path / "edited").rglob("*"))
    assert digests(blobs) == before


def test_the_library_whose_weights_were_edited_is_the_one_that_is_written(model: Path, tmp_path: Path) -> None:
    save(model / "open_clip_model.safetensors", {"visual.proj": ("F32", random_bits(5, "F32", 4, 4))})
    checkpoint = Checkpoint.open(model, files=["open_clip_model.safetensors"])
    bits = checkpoint.read("visual.proj")
    change = Change.between("visual.proj", "F32", bits, bits ^ SIGN["F32"])
    assert change is not None
    patch = Patch.create(checkpoint, [change], {})
    applied = patch.apply(model, tmp_path / "edited")
    assert applied.files == ("open_clip_model.safetensors",)
    assert applied.left_out == ("model.safetensors",)
    patch.revert(tmp_path / "edited", tmp_path / "restored")


def test_one_file_in_gives_a_folder_with_that_file(tmp_path: Path) -> None:
    file = save(tmp_path / "downloads" / "clip.safetensors", tensors())
    (tmp_path / "downloads" / "unrelated.txt").write_text("x")
    patch = negated(file)
    patch.apply(file, tmp_path / "downloads" / "edited")
    assert listing(tmp_path / "downloads" / "edited") == ["clip.safetensors"]
    patch.revert(tmp_path / "downloads" / "edited", tmp_path / "restored")
    assert (tmp_path / "restored" / "clip.safetensors").read_bytes() == file.read_bytes()


def test_an_output_that_exists_is_refused_even_when_empty(model: Path, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("taken", "dangling", "patch"):
        before = listing(tmp_path)
        with pytest.raises(OutputError, match="exists already"):
            Patch.load(saved).apply(model, tmp_path / name)
        assert listing(tmp_path) == before
    with pytest.raises(OutputError, match="exists already"):
        Patch.load(saved).save(tmp_path / "taken", "")


def test_an_output_inside_the_model_is_refused(model: Path, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    before = listing(tmp_path)
    for output in (model / "edited", model / "a" / "b", tmp_path / "link" / "edited"):
        with pytest.raises(OutputError, match="is inside"):
            Patch.load(saved).apply(model, output)
    with pytest.raises(OutputError, match="is inside"):
        Patch.load(saved).apply(model / "model.safetensors", model / "edited")
    assert listing(tmp_path) == before


def test_an_output_in_the_hub_cache_is_refused(
    model: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(OutputError, match="is inside"):
        Patch.load(saved).apply(model, tmp_path / "hub" / "edited")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device"), SystemExit(1)])
@pytest.mark.parametrize("step", ["copy_file", "read_bits", "_sync"])
def test_a_failure_leaves_nothing_behind(
    model: Path, saved: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(outputs if step == "_sync" else applying, step, fail)
    patch, before = Patch.load(saved), listing(model.parent)
    expected = OutputError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected):
        patch.apply(model, model.parent / "deep" / "er" / "output")
    assert listing(model.parent) == before


def test_the_index_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_folder(tmp_path / "model", shards=2)
    copied: list[str] = []

    def copy(source: Path, target: Path) -> None:
        copied.append(source.name)
        shutil.copyfile(source, target) if target.parent.exists() else None

    (model / "extra" / "notes.txt").unlink()
    patch = negated(model)
    monkeypatch.setattr(applying, "copy_file", copy)
    patch.apply(model, tmp_path / "edited")
    assert copied[-1] == "model.safetensors.index.json"


def test_a_write_that_did_not_arrive_is_noticed(model: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "hash_bytes", lambda *_: "0" * 64)
    refused(Patch.load(saved), model, "was not written as recorded")


def test_another_runs_remains_are_not_touched(model: Path, saved: Path, tmp_path: Path) -> None:
    import os

    remains = tmp_path / f".edited.partial-{os.getpid()}"
    remains.mkdir()
    Patch.load(saved).apply(model, tmp_path / "edited")
    assert listing(remains) == []
    assert not list(tmp_path.glob(".edited.partial-*-*"))


def test_a_torch_archive_is_pointed_to_the_edit_command(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="torch archive") as caught:
        Patch.load(saved).apply(tmp_path / "model.pt", tmp_path / "edited")
    assert "editkit edit" in caught.value.remedy
