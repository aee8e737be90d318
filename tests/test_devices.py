"""Devices: one that is not here is refused before any work, and each that is here gives the edit of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import as_error, done, run
from models import table, tiny_clip
from tiny_checkpoints import listing

from editkit.errors import RecipeError
from editkit.models.compute import Compute, devices, require_compute, resolve_device
from editkit.patch.patch import Patch

HERE = devices()
ABSENT = ["gpu", "cuda:99", "meta", "tpu", "", "cpu:x", "CUDA"]
"""`meta` is a device of torch's that computes nothing."""


@pytest.mark.parametrize("name", [*ABSENT, *(kind for kind in ("cuda", "mps") if not any(kind in one for one in HERE))])
@pytest.mark.parametrize("command", [("edit",), ("plan",), ("eval", "safeground")])
def test_a_device_that_is_not_here_is_refused_before_the_model_is_even_looked_for(
    command: tuple[str, ...], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = as_error(run(*command, "--model", tmp_path / "nowhere", "--device", name))
    assert error.startswith(f"Error: Device '{name}' cannot be used here: there is no such device.")
    assert f"--device auto or {' or '.join(HERE)}; these are here." in error
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", HERE)
def test_a_device_that_is_here_is_taken_as_it_is_named(name: str) -> None:
    assert resolve_device(name) == name
    assert torch.empty(1, device=name).device == torch.device(name)


def test_the_cpu_is_always_here_and_auto_prefers_what_is_faster() -> None:
    assert HERE[0] == "cpu"
    found = resolve_device("auto")
    assert found == "cpu" if len(HERE) == 1 else found != "cpu"
    assert found in HERE or f"{found}:0" in HERE


def test_the_first_of_a_kind_needs_no_number() -> None:
    for kind in {name.partition(":")[0] for name in HERE}:
        assert resolve_device(kind) == kind


def test_what_a_run_is_to_compute_on_and_in_is_checked_at_once() -> None:
    assert require_compute(Compute(device="cpu", autocast="bfloat16")) == "cpu"
    with pytest.raises(RecipeError, match="there is no such device"):
        require_compute(Compute(device="cuda:99", autocast="bfloat16"))


@pytest.mark.parametrize("device", HERE[1:])
def test_another_device_chooses_what_the_cpu_chooses_and_is_recorded(device: str, tmp_path: Path) -> None:
    flags = ("--model", tiny_clip(tmp_path / "model"), "--data", table(tmp_path / "data", 8), "--workers", 0)
    chosen = []
    for place in ("cpu", device):
        done("edit", *flags, "--no-cache", "--tau", 0.1, "--device", place, "-o", tmp_path / place)
        patch = Patch.load(tmp_path / place)
        assert patch.record["device"] == place
        chosen.append({(key, index) for key, change in patch.changes.items() for index in change.index.tolist()})
    assert len(chosen[0] & chosen[1]) > 0.99 * len(chosen[0] | chosen[1])
    measure = ("eval", "safeground", *flags, "--split", "train", "--knowledge", "none", "--device", device, "--json")
    assert done(*measure).json["models"][0]["name"] == "base"


def test_the_device_is_recorded(tmp_path: Path) -> None:
    flags = ("--model", tiny_clip(tmp_path / "model"), "--data", table(tmp_path / "data", 3), "--workers", 0)
    done("edit", *flags, "--device", "cpu", "--target", "text:attn.out", "-o", tmp_path / "patch")
    assert Patch.load(tmp_path / "patch").record["device"] == "cpu"
