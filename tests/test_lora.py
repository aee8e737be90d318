"""Subtracting LoRA adapters in PEFT's format: the product of two matrices, its scaling, and what is refused."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import as_error, done, run
from lora_samples import QUERIES, shapes_of, write_adapter
from models import tiny_clip
from safetensors.torch import load_file
from tiny_checkpoints import digests, listing
from torch import Tensor

from editkit.errors import ModelError
from editkit.files.lora_adapter import LoraAdapter

TARGETS = ("--target", "*:attn.q")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("lora") / "model")


def product(a: Tensor, b: Tensor) -> Tensor:
    """B A, one column and row of the rank at a time."""
    total = torch.zeros(b.shape[0], a.shape[1], dtype=torch.float64)
    for row, column in zip(a.double(), b.double().T, strict=True):
        total += torch.outer(column, row)
    return total


def edited(model: Path, adapter: Path, out: Path, *more: object) -> dict[str, Tensor]:
    flags = ("--model", model, "--manipulator", "lora", "--set", f"manipulator.adapter={adapter}")
    targets = () if "--target" in more else TARGETS
    done("edit", *flags, *targets, *more, "-o", out / "p", "--save", out / "saved")
    return load_file(out / "saved" / "model.safetensors")


@pytest.mark.parametrize(("amount", "rslora"), [(1.0, False), (-1.0, False), (0.5, True)])
def test_the_adapters_change_is_subtracted_and_nothing_else_moves(
    amount: float, rslora: bool, model: Path, tmp_path: Path
) -> None:
    made = write_adapter(tmp_path / "lora", shapes_of(model), rank=3, alpha=6, use_rslora=rslora)
    after = edited(model, tmp_path / "lora", tmp_path, "--set", f"manipulator.amount={amount}")
    before = load_file(model / "model.safetensors")
    scaling = 6 / (math.sqrt(3) if rslora else 3)
    for key, tensor in before.items():
        if (module := key.removesuffix(".weight")) in made:
            expected = tensor.double() - amount * scaling * product(*made[module])
            torch.testing.assert_close(after[key], expected.float(), rtol=0, atol=1e-6)
            assert not torch.equal(after[key], tensor)
        else:
            assert torch.equal(after[key], tensor), key
    done("revert", tmp_path / "p", tmp_path / "saved", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(model)


def test_adding_and_subtracting_an_adapter_leaves_the_model(model: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", shapes_of(model))
    edited(model, tmp_path / "lora", tmp_path / "added", "--set", "manipulator.amount=-1")
    after = edited(tmp_path / "added" / "saved", tmp_path / "lora", tmp_path / "taken")
    for key, tensor in load_file(model / "model.safetensors").items():
        torch.testing.assert_close(after[key], tensor, rtol=0, atol=1e-5)


def test_ranks_and_alphas_of_single_modules_count(model: Path, tmp_path: Path) -> None:
    ranks = {QUERIES[0]: 4}
    patterns = {
        "rank_pattern": ranks,
        "alpha_pattern": {"text_model.*layers.0.*q_proj": 10, "layers.1.self_attn.q_proj": 3},
    }
    write_adapter(tmp_path / "lora", shapes_of(model), rank=2, alpha=4, ranks=ranks, **patterns)
    adapter = LoraAdapter.open(tmp_path / "lora")
    assert [adapter.scaling(module) for module in QUERIES] == [10 / 4, 3 / 2, 4 / 2, 3 / 2]


@pytest.mark.parametrize("prefix", ["", "base_model.model.", "base_model.model.clip."])
def test_modules_are_found_whatever_wraps_them(prefix: str, model: Path, tmp_path: Path) -> None:
    made = write_adapter(tmp_path / "lora", shapes_of(model, QUERIES[:1]), prefix=prefix)
    after = edited(model, tmp_path / "lora", tmp_path, "--target", "text:attn.q[0]")
    before = load_file(model / "model.safetensors")
    expected = before[f"{QUERIES[0]}.weight"].double() - 2 * product(*made[QUERIES[0]])
    torch.testing.assert_close(after[f"{QUERIES[0]}.weight"], expected.float(), rtol=0, atol=1e-6)


def test_a_name_that_two_modules_end_in_is_neither(tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", {"a.q_proj": (2, 2), "b.q_proj": (2, 2)})
    adapter = LoraAdapter.open(tmp_path / "lora")
    assert [adapter.module_of(name) for name in ("a.q_proj", "x.a.q_proj", "q_proj", "k_proj", "")] == [
        "a.q_proj", "a.q_proj", None, None, None,
    ]  # fmt: skip


def test_the_record_has_the_digests_of_the_adapters_files(model: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", shapes_of(model))
    edited(model, tmp_path / "lora", tmp_path)
    record = json.loads((tmp_path / "p" / "record.json").read_text())
    files = [tmp_path / "lora" / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    assert record["read"] == {str(file): sha256(file.read_bytes()).hexdigest() for file in files}
    assert "lora (adapter" in done("show", tmp_path / "p").flat


# what is refused


@pytest.mark.parametrize(
    ("config", "more", "said"),
    [
        ({"peft_type": "IA3"}, {}, "holds an adapter of kind IA3"),
        ({"use_dora": True}, {}, "holds an adapter of kind DoRA"),
        ({"lora_alpha": "much"}, {}, "is no LoRA adapter"),
        ({}, {"base_model.model.visual_projection.weight": torch.ones(2, 2)}, "changes more than LoRA's two matrices"),
        ({}, {"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, "holds one of two matrices of x"),
    ],
)
def test_what_is_more_than_two_matrices_is_refused(
    config: dict[str, Any], more: dict[str, Tensor], said: str, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "lora", {"a.q_proj": (2, 3)}, more=more, **config)
    with pytest.raises(ModelError, match=said) as caught:
        LoraAdapter.open(tmp_path / "lora")
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("text:attn.k[0]", "has nothing for text:attn.k[0] (module text_model.encoder.layers.0.self_attn.k_proj)"),
        ("text:attn.q[1]", "and for it"),
    ],
)
def test_sites_that_an_adapter_does_not_fit_are_refused_and_leave_nothing(
    target: str, said: str, model: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "lora", shapes_of(model, QUERIES[:1]) | {QUERIES[1]: (5, 7)})
    flags = ("--model", model, "--manipulator", "lora", "--set", f"manipulator.adapter={tmp_path / 'lora'}")
    before = listing(tmp_path)
    assert said in as_error(run("edit", *flags, "--target", target, "-o", tmp_path / "p"))
    assert listing(tmp_path) == before


def test_a_folder_without_an_adapter_is_refused_when_the_edit_is_planned(model: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--manipulator", "lora", *TARGETS, "--set")
    said = as_error(run("plan", *flags, f"manipulator.adapter={tmp_path}"))
    assert "is no LoRA adapter: its adapter_config.json is missing" in said
    write_adapter(tmp_path / "lora", shapes_of(model))
    (tmp_path / "lora" / "adapter_model.safetensors").rename(tmp_path / "lora" / "adapter_model.bin")
    said = as_error(run("plan", *flags, f"manipulator.adapter={tmp_path / 'lora'}"))
    assert "has no adapter_model.safetensors" in said
