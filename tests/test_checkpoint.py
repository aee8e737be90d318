"""Opening checkpoints: what is found, what is left out, and what is refused before anything is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tiny_checkpoints import Tensors, model_folder, random_bits, save, tensors

from editkit.errors import ModelError
from editkit.files.checkpoint import Checkpoint
from editkit.files.model_folder import is_weights
from editkit.files.shard import write_shard


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_is_read_bit_by_bit(tmp_path: Path, dtype: str, shards: int) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "m", dtype, shards=shards))
    expected = tensors(dtype)
    assert set(checkpoint.tensors) == set(expected)
    for key, (kind, bits) in expected.items():
        read = checkpoint.read(key)
        assert checkpoint.tensors[key].dtype == kind
        assert read.shape == bits.shape
        assert read.dtype == bits.dtype
        assert np.array_equal(read, bits)


def test_the_headers_alone_are_read(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "m", shards=2))
    info = checkpoint.tensors["b.weight"]
    raw = (checkpoint.root / info.file).read_bytes()[info.start : info.stop]
    assert raw == tensors()["b.weight"][1].tobytes()
    assert info.size == 84


def test_identity_does_not_depend_on_sharding(tmp_path: Path) -> None:
    one = Checkpoint.open(model_folder(tmp_path / "one"))
    many = Checkpoint.open(model_folder(tmp_path / "many", shards=4))
    assert one.identity() == many.identity()
    assert one.digest("scale") == many.digest("scale")


@pytest.mark.parametrize("key", ["a.weight", "position_ids", "scale"])
def test_identity_changes_with_one_bit_of_any_tensor(tmp_path: Path, key: str) -> None:
    content = tensors()
    base = Checkpoint.open(save(tmp_path / "a.safetensors", content)).identity()
    dtype, bits = content[key]
    flipped = bits.copy()
    flipped.reshape(-1)[-1] ^= 1
    other = Checkpoint.open(save(tmp_path / "b.safetensors", {**content, key: (dtype, flipped)}))
    assert other.identity() != base
    assert other.identity(without=[key]) == Checkpoint.open(tmp_path / "a.safetensors").identity(without=[key])


def test_identity_changes_with_name_dtype_and_shape(tmp_path: Path) -> None:
    bits = np.arange(6, dtype="<u2")
    variants: list[Tensors] = [
        {"w": ("F16", bits)},
        {"v": ("F16", bits)},
        {"w": ("BF16", bits)},
        {"w": ("F16", bits.reshape(2, 3))},
    ]
    found = {Checkpoint.open(save(tmp_path / f"{i}.safetensors", v)).identity() for i, v in enumerate(variants)}
    assert len(found) == len(variants)


def test_files_written_here_are_read_by_the_safetensors_package(tmp_path: Path) -> None:
    bits = {"before:x.y": random_bits(1, "F32", 4), "b": random_bits(2, "F16", 2, 3)}
    write_shard(
        tmp_path / "x.safetensors",
        [("before:x.y", "F32", (4,), bits["before:x.y"]), ("b", "F16", (2, 3), bits["b"])],
        {"format": "test"},
    )
    loaded = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert np.array_equal(loaded["before:x.y"].view("<u4"), bits["before:x.y"])
    assert np.array_equal(loaded["b"].view("<u2"), bits["b"])


def test_an_empty_tensor_is_no_obstacle(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(save(tmp_path / "x.safetensors", {"e": ("F32", np.zeros((0, 3), "<u4"))}))
    assert checkpoint.read("e").shape == (0, 3)
    assert len(checkpoint.identity()) == 64


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs = model_folder(tmp_path / "blobs", shards=2)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for entry in blobs.iterdir():
        (snapshot / entry.name).symlink_to(entry)
    checkpoint = Checkpoint.open(snapshot)
    assert checkpoint.identity() == Checkpoint.open(blobs).identity()
    assert "extra/notes.txt" in checkpoint.others


def test_a_link_to_its_own_parent_does_not_go_round_forever(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m")
    (root / "extra" / "up").symlink_to(root)
    assert [name for name in Checkpoint.open(root).others if name.endswith("notes.txt")] == ["extra/notes.txt"]


TWINS = [
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "tf_model.h5"),
    *("flax_model.msgpack", "rust_model.ot", "model.gguf", "open_clip_pytorch_model.bin", "ViT-B-32.pt", "model.onnx"),
    *("model.fp16.safetensors", "extra/model.safetensors", "model.ckpt", "weights.pth"),
]
COMPANIONS = ["config.json", "tokenizer.json", "merges.txt", "preprocessor_config.json", "README.md", "spiece.model"]


def test_unedited_twins_are_told_from_companions(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m")
    for name in (*TWINS, *COMPANIONS, "onnx/vision_model.onnx", "onnx/config.json", ".git/config", ".cache/x/y"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    checkpoint = Checkpoint.open(root)
    assert set(checkpoint.left_out) == {*TWINS, "onnx/"}
    assert set(checkpoint.others) == {*COMPANIONS, "extra/notes.txt"}
    assert checkpoint.files == ("model.safetensors",)
    assert not is_weights("tokenizer.model")


def test_the_library_that_the_config_names_comes_first(tmp_path: Path) -> None:
    content = tensors()
    for name in ("both", "open_clip"):
        save(tmp_path / name / "model.safetensors", content)
        save(tmp_path / name / "open_clip_model.safetensors", {"visual.proj": content["a.weight"]})
        (tmp_path / name / "open_clip_config.json").write_text("{}")
    (tmp_path / "both" / "config.json").write_text("{}")
    assert Checkpoint.open(tmp_path / "both").files == ("model.safetensors",)
    assert Checkpoint.open(tmp_path / "both").left_out == ("open_clip_model.safetensors",)
    assert Checkpoint.open(tmp_path / "open_clip").files == ("open_clip_model.safetensors",)
    chosen = Checkpoint.open(tmp_path / "both", files=["open_clip_model.safetensors"])
    assert chosen.files == ("open_clip_model.safetensors",)
    assert chosen.left_out == ("model.safetensors",)
    assert Checkpoint.open(tmp_path / "both", holding={"visual.proj"}).files == chosen.files
    assert Checkpoint.open(tmp_path / "both", holding={"in neither"}).files == ("model.safetensors",)


def test_several_unnamed_files_are_refused_and_one_is_taken(tmp_path: Path) -> None:
    save(tmp_path / "x.safetensors", tensors())
    assert Checkpoint.open(tmp_path).files == ("x.safetensors",)
    save(tmp_path / "y.safetensors", {"other": tensors()["scale"]})
    with pytest.raises(ModelError, match=r"several sets of weights: x\.safetensors, y\.safetensors"):
        Checkpoint.open(tmp_path)
    assert Checkpoint.open(tmp_path, holding=["other"]).files == ("y.safetensors",)
    assert Checkpoint.open(tmp_path / "x.safetensors").left_out == ()


def test_a_path_that_does_not_exist_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model at"):
        Checkpoint.open(tmp_path / "nowhere")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="There are no weights"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.safetensors"])
def test_a_torch_archive_is_refused_with_the_way_to_convert_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ModelError, match="torch archive") as caught:
        Checkpoint.open(tmp_path / name)
    assert "converted once" in caught.value.remedy


def test_a_folder_with_only_a_torch_archive_names_it(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin") as caught:
        Checkpoint.open(tmp_path)
    assert "converted once" in caught.value.remedy


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m", shards=2)
    (root / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names model-00002-of-00002\.safetensors, which is missing"):
        Checkpoint.open(root)


def test_an_index_that_lies_is_refused(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m", shards=2)
    index = root / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    for lie in ({"a.weight": places["a.bias"]}, {"no.such": places["a.bias"]}):
        index.write_text(json.dumps({"weight_map": places | lie}))
        with pytest.raises(ModelError, match="says that"):
            Checkpoint.open(root)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../x.safetensors"}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="is not an index"):
        Checkpoint.open(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m", shards=2)
    index = root / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    other = next(file for file in places.values() if file != places["scale"])
    content = tensors()
    save(root / other, {key: content[key] for key in content if places[key] == other or key == "scale"})
    with pytest.raises(ModelError, match="Tensor 'scale' is both in"):
        Checkpoint.open(root)


@pytest.mark.parametrize("keep", [0, 5, 8, 60, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = save(tmp_path / "x.safetensors", tensors())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        Checkpoint.open(path)


def test_a_file_with_bytes_after_its_end_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", tensors())
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        Checkpoint.open(path)


ENTRIES = [
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
    '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
    '{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
    '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
    '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
    '{"a":[1,2]}',
    "[1]",
]


@pytest.mark.parametrize("header", ENTRIES)
def test_a_forged_header_is_refused(tmp_path: Path, header: str) -> None:
    raw = header.encode()
    (tmp_path / "x.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"1234")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        Checkpoint.open(tmp_path / "x.safetensors")


def test_packed_items_are_copied_and_hashed_but_not_edited(tmp_path: Path) -> None:
    raw = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    (tmp_path / "x.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"12")
    checkpoint = Checkpoint.open(tmp_path / "x.safetensors")
    assert len(checkpoint.identity()) == 64
    with pytest.raises(ModelError, match="stored as F4"):
        checkpoint.read("a")


def test_a_broken_link_in_the_folder_is_named(tmp_path: Path) -> None:
    root = model_folder(tmp_path / "m")
    (root / "vocab.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelError, match=r"vocab\.txt is a broken link"):
        Checkpoint.open(root)
