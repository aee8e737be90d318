"""A patch applies only to the weights it was made from, and reverts to the exact bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_checkpoints import digests, listing, model_folder, random_bits, save, tensors
from tiny_patches import SIGN, negated, refused

from editkit.errors import ModelError, OutputError, PatchError
from editkit.files import outputs
from editkit.files.checkpoint import Checkpoint
from editkit.files.shard import unsigned
from editkit.patch import rewrite
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.patch.provenance import PROVENANCE as CARD

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
    assert digests(tmp_path / "edited").keys() == {*before, CARD}
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
        with pytest.raises(ValueError, match=r"^w: "):
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
    assert listing(tmp_path / "edited") == [CARD, *listing(single)]


# what is written, and where


def test_unedited_twins_are_left_out_and_named(model: Path, saved: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", ".git/HEAD"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("unedited")
    applied = Patch.load(saved).apply(model, tmp_path / "edited")
    assert set(applied.left_out) == {"pytorch_model.bin", "tf_model.h5", "onnx/"}
    expected = [CARD, "config.json", "extra", "extra/notes.txt", "model.safetensors", "tokenizer.json"]
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
    assert listing(tmp_path / "downloads" / "edited") == [CARD, "clip.safetensors"]
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
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
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

    monkeypatch.setattr(outputs if step == "_sync" else rewrite, step, fail)
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
    monkeypatch.setattr(rewrite, "copy_file", copy)
    patch.apply(model, tmp_path / "edited")
    assert copied[-1] == "model.safetensors.index.json"


def test_a_write_that_did_not_arrive_is_noticed(model: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "hash_bytes", lambda *_: "0" * 64)
    refused(Patch.load(saved), model, "was not written as recorded")


def test_another_runs_remains_are_not_touched(model: Path, saved: Path, tmp_path: Path) -> None:
    import os

    remains = tmp_path / f".edited.partial-{os.getpid()}"
    remains.mkdir()
    Patch.load(saved).apply(model, tmp_path / "edited")
    assert listing(remains) == []
    assert not list(tmp_path.glob(".edited.partial-*-*"))


def test_a_damaged_torch_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="cannot be read as plain tensors") as caught:
        Patch.load(saved).apply(tmp_path / "model.pt", tmp_path / "edited")
    assert "Convert it to safetensors" in caught.value.remedy


def test_the_documented_reader_applies_a_patch(
    model: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[1] / "docs" / "patch-format.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 11
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(code, scope)
    Patch.load(saved).apply(model, tmp_path / "edited")
    edited = Checkpoint.open(tmp_path / "edited")
    for key, weights in scope["model"].items():
        assert np.array_equal(weights.view(edited.read(key).dtype), edited.read(key))


def test_the_documented_digest_of_the_rest_is_the_one_in_the_record(model: Path, saved: Path) -> None:
    checkpoint, base = Checkpoint.open(model), json.loads((saved / "record.json").read_text())["base"]
    lines = ""
    for key in sorted(set(checkpoint.tensors) - set(base["touched"])):
        info, bits = checkpoint.tensors[key], checkpoint.read(key)
        entry = [key, info.dtype, list(info.shape), hashlib.sha256(bits.tobytes()).hexdigest()]
        lines += json.dumps(entry, separators=(",", ":")) + "\n"
    assert hashlib.sha256(lines.encode()).hexdigest() == base["rest"]
    assert base["tensors"] == 5
