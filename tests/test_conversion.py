"""Torch archives are converted once, without running code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from editkit.errors import ModelError
from editkit.files.cache_folder import cache_root
from editkit.files.checkpoint import Checkpoint
from editkit.files.conversion import converted_file, converted_folder


def test_a_training_checkpoint_gives_its_state_dict_without_the_prefix_of_data_parallelism(tmp_path: Path) -> None:
    weight = torch.randn(3, 4).T  # not contiguous, as transposed projections are
    torch.save({"epoch": 3, "state_dict": {"module.a": weight, "module.b": weight}}, tmp_path / "last.pt")
    made = load_file(converted_file(tmp_path / "last.pt"))
    assert made.keys() == {"a", "b"}
    assert torch.equal(made["a"], weight)


def test_a_second_conversion_is_served_from_the_cache(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    first = converted_file(tmp_path / "w.pt")
    stamp = first.stat().st_mtime_ns
    assert converted_file(tmp_path / "w.pt") == first
    assert first.stat().st_mtime_ns == stamp


def test_a_cache_that_cannot_be_written_costs_a_conversion_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file, where the cache's folder would be")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(tmp_path / "taken"))
    torch.save({"a": torch.full((2,), 7.0)}, tmp_path / "w.pt")
    first = converted_file(tmp_path / "w.pt")
    assert converted_file(tmp_path / "w.pt") == first
    assert load_file(first)["a"].tolist() == [7, 7]


def test_code_in_an_archive_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))  # type: ignore[return-value]

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(ModelError, match="plain tensors"):
        converted_file(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
    assert list((cache_root() / "converted").glob("*")) == []


def test_a_folder_of_archive_shards_becomes_one_with_its_companions(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({"a": torch.ones(2)}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(3)}, folder / "pytorch_model-00002-of-00002.bin")
    shards = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    copy = converted_folder(folder, shards, None, "model.safetensors")
    assert Checkpoint.open(copy).tensors.keys() == {"a", "b"}
    assert (copy / "config.json").read_text() == "{}"
    assert not list(folder.glob("*.safetensors"))  # the model's own folder is never written to
