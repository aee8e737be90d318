"""The whole engine on the demo against a float64 loop that shares no code with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import cache_at, done, sha
from models import DEMO, drawn, images_of
from PIL import Image
from safetensors.numpy import load_file

LIMIT, TAU = 24, 0.2
EDIT = ("edit", "--scorer", "uwm", "--alpha", "-1", "--tau", TAU, "--limit", LIMIT)
TOLERATED = 1e-5
"""Share of the weights that may fall on the other side of the threshold, by rounding of activations."""


@dataclass(frozen=True)
class Edit:
    """An edit of the demo, and the cache that it left warm."""

    patch: Path
    cache: Path


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Edit:
    root = tmp_path_factory.mktemp("engine")
    with cache_at(root / "cache"):
        done(*EDIT, "-o", root / "patch")
    return Edit(root / "patch", root / "cache")


def changes(patch: Path) -> dict[str, dict[str, Any]]:
    """The columns of a patch by tensor, read with the safetensors package."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in load_file(patch / "patch.safetensors").items():
        column, _, key = name.partition(":")
        found.setdefault(key, {})[column] = values
    return found


def selections(patch: Path) -> dict[str, set[int]]:
    return {key: set(columns["index"].tolist()) for key, columns in changes(patch).items()}


def differing(a: dict[str, set[int]], b: dict[str, set[int]]) -> int:
    assert a.keys() == b.keys()
    return sum(len(a[key] ^ b[key]) for key in a)


# The reference: plain transformers, one sample at a time, equations 8 to 11 as they stand.


def activations(model: Any, modules: dict[str, Any], run: Any) -> dict[str, Any]:
    """The input [T, I] of each module in one forward pass of one sample, as float64."""
    seen: dict[str, Any] = {}

    def recorder(key: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            seen[key] = args[0][0].double().numpy()

        return hook

    handles = [module.register_forward_pre_hook(recorder(key)) for key, module in modules.items()]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def saliency(weight: Any, x: Any) -> Any:
    """phi / s of one sample, [O, I]: Eq. 8 and the division of Eq. 9."""
    z = np.sqrt((x**2).sum(axis=0))  # [I]
    s = x.std(axis=0, ddof=1) + 1e-8  # [I]
    phi = np.empty_like(weight)
    column = np.abs(weight).mean(axis=0)  # [I]
    for output in range(weight.shape[0]):
        phi[output] = (z * np.abs(weight[output])).mean() * (z * column)
    return phi / s


def adaptive(scores: Any, tau: float) -> set[int]:
    """Eq. 11 by a full sort; of equal scores the higher index counts as the larger."""
    flat = scores.reshape(-1)
    order = np.argsort(flat, kind="stable")
    share = np.cumsum(flat[order]) / flat.sum()
    return set(order[share > 1 - tau].tolist())


def samples(tower: str, tokenizer: Any, processor: Any) -> Iterator[tuple[Any, Any]]:
    for element in drawn("calibration", LIMIT):
        if tower == "text":
            yield tuple(tokenizer(element[side], return_tensors="pt")["input_ids"] for side in ("safe", "nsfw"))
        else:
            pictures = (Image.open(path).convert("RGB") for path in images_of(element, "calibration"))
            yield tuple(processor(images=picture, return_tensors="pt")["pixel_values"] for picture in pictures)


def reference(tower: str, tau: float) -> dict[str, set[int]]:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(DEMO / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    processor = AutoImageProcessor.from_pretrained(DEMO / "model")
    ending = ".self_attn.out_proj" if tower == "text" else ".mlp.fc2"
    modules = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if name.startswith(f"{tower}_model.") and name.endswith(ending)
    }
    weights = {key: module.weight.detach().double().numpy() for key, module in modules.items()}
    sums = {key: np.zeros_like(weight) for key, weight in weights.items()}
    pairs = 0
    for pair in samples(tower, tokenizer, processor):
        sides = []
        for inputs in pair:
            if tower == "text":
                sides.append(activations(model, modules, lambda ids=inputs: model.get_text_features(input_ids=ids)))
            else:
                sides.append(activations(model, modules, lambda px=inputs: model.get_image_features(pixel_values=px)))
        for key, weight in weights.items():  # Eq. 10, in each pair
            safe, unsafe = (saliency(weight, side[key]) for side in sides)
            sums[key] += unsafe / safe
        pairs += 1
    assert pairs == LIMIT
    prior = {key: np.abs(weight) if tower == "text" else 1.0 for key, weight in weights.items()}
    return {key: adaptive(total / pairs * prior[key], tau) for key, total in sums.items()}


def test_the_demo_edit_equals_a_float64_loop_over_activations_from_plain_hooks(edited: Edit) -> None:
    expected = reference("text", TAU) | reference("vision", TAU)
    base = load_file(DEMO / "model" / "model.safetensors")
    found = selections(edited.patch)
    size = sum(base[key].size for key in expected)
    assert len(expected) == 7 and all(len(chosen) > 100 for chosen in expected.values())
    assert differing(found, expected) <= TOLERATED * size
    for key, columns in changes(edited.patch).items():
        before = base[key].reshape(-1)[columns["index"]]
        assert np.array_equal(columns["before"], before)
        assert np.array_equal(columns["after"], -1 * before)


def test_two_runs_with_empty_caches_write_the_same_patch_bytes(edited: Edit, tmp_path: Path) -> None:
    done(*EDIT, "-o", tmp_path / "again")
    assert sha(tmp_path / "again" / "patch.safetensors") == sha(edited.patch / "patch.safetensors")


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_batch_size_does_not_move_the_selection(edited: Edit, tmp_path: Path, size: int) -> None:
    done(*EDIT, "--batch-size", size, "-o", tmp_path / "patch")
    one, other = selections(tmp_path / "patch"), selections(edited.patch)
    assert differing(one, other) <= TOLERATED * 638_976


def test_worker_processes_and_no_cache_change_nothing(edited: Edit, tmp_path: Path, own_cache: Path) -> None:
    done(*EDIT, "--no-cache", "--workers", 0, "-o", tmp_path / "patch")
    assert sha(tmp_path / "patch" / "patch.safetensors") == sha(edited.patch / "patch.safetensors")
    assert not list(own_cache.glob("scores/**/*.safetensors"))


def test_a_warm_cache_writes_the_same_patch_bytes_at_every_batch_size(edited: Edit, tmp_path: Path) -> None:
    with cache_at(edited.cache):
        for size in (1, 64):
            done(*EDIT, "--batch-size", size, "-o", tmp_path / f"warm-{size}")
            assert sha(tmp_path / f"warm-{size}" / "patch.safetensors") == sha(edited.patch / "patch.safetensors")


def test_another_tau_or_alpha_needs_neither_model_nor_new_scores(
    edited: Edit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TransformersClip, "load", refuse)
    with cache_at(edited.cache):
        before = {path: sha(path) for path in (edited.cache / "scores").rglob("*.safetensors")}
        assert len(before) == 7
        for flags in (("--tau", 0.05), ("--tau", 0.3, "--alpha", 0), ("--selector", "topk"), ("--manipulator", "zero")):
            done("edit", "--limit", LIMIT, *flags, "-o", tmp_path / "-".join(map(str, flags)).replace("--", ""))
        assert {path: sha(path) for path in (edited.cache / "scores").rglob("*.safetensors")} == before


def test_a_damaged_cache_entry_is_computed_anew(edited: Edit, tmp_path: Path) -> None:
    for path in (edited.cache / "scores").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
        break
    with cache_at(edited.cache):
        done(*EDIT, "-o", tmp_path / "patch")
    assert sha(tmp_path / "patch" / "patch.safetensors") == sha(edited.patch / "patch.safetensors")
