"""`editkit edit` with scorers of gradients: what it selects, what its cache serves, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, cache_at, done, run, sha
from conftest import PAIRS as COUNT
from models import elements, images_of, spoil, table, tiny_clip
from PIL import Image
from plain_gradients import batch_loss, other_than, sample_gradients, sample_scores
from safetensors.numpy import load_file
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.site import Site
from editkit.methods.scorers.options import LOSS_BATCH

FRACTION = 0.05
TOPK = ("--selector", "topk", "--set", f"selector.fraction={FRACTION}")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("gradients")
    return {
        "model": tiny_clip(root / "model"),
        "pairs": table(root / "pairs", COUNT),
        "texts": table(root / "texts", COUNT, columns=("safe_text", "unsafe_text")),
    }


def flags(places: dict[str, Path], data: str = "pairs") -> tuple[object, ...]:
    return ("--model", places["model"], "--data", places[data], "--workers", 0)


def selections(patch: Path) -> dict[str, set[int]]:
    held = load_file(patch / "patch.safetensors")
    return {key.partition(":")[2]: set(held[key].tolist()) for key in held if key.startswith("index:")}


# The reference: plain transformers in float64


@pytest.fixture(scope="module")
def plain(places: dict[str, Path]) -> tuple[Any, dict[str, Callable[[int], Tensor]]]:
    """The model in float64 and its encoders of one row: safe, then unsafe items, in the order of the draw."""
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(places["model"], dtype=torch.float64).eval()
    tokenizer, processor = (kind.from_pretrained(places["model"]) for kind in (AutoTokenizer, AutoImageProcessor))
    drawn = sorted(
        elements("calibration")[:COUNT], key=lambda one: sha256(f"0:tuple-{one['incremental_id']}".encode()).digest()
    )
    texts = [one[side] for side in ("safe", "nsfw") for one in drawn]
    images = [images_of(one, "calibration")[side] for side in range(2) for one in drawn]

    def image(row: int) -> Tensor:
        pixels = processor(images=Image.open(images[row]).convert("RGB"), return_tensors="pt")["pixel_values"]
        return normalize(model.get_image_features(pixel_values=pixels.double()).pooler_output[0], dim=0)

    def text(row: int) -> Tensor:
        ids = tokenizer(texts[row], return_tensors="pt")["input_ids"]
        return normalize(model.get_text_features(input_ids=ids).pooler_output[0], dim=0)

    return model, {"text": text, "vision": image}


def keys_of(tower: str, model: Any) -> list[str]:
    ending = ".self_attn.out_proj.weight" if tower == "text" else ".mlp.fc2.weight"
    return [key for key in model.state_dict() if key.startswith(f"{tower}_model.") and key.endswith(ending)]


def naive_gradient_scores(plain: Any, loss: str, size: int) -> dict[str, Tensor]:
    model, encoders = plain
    scores: dict[str, Tensor] = {}
    for tower in encoders:
        own = torch.stack([encoders[tower](row) for row in range(2 * COUNT)])
        other = torch.stack([encoders[other_than(tower)](row) for row in range(2 * COUNT)]).detach()
        keys = keys_of(tower, model)
        for first in range(0, COUNT, size):
            rows = [slice(at + first, at + min(COUNT, first + size)) for at in (0, COUNT)]
            total = batch_loss(loss, own[rows[0]], own[rows[1]], other[rows[0]], other[rows[1]])
            found = torch.autograd.grad(total, [model.get_parameter(key) for key in keys], retain_graph=True)
            for key, gradient in zip(keys, found, strict=True):
                share = min(size, COUNT - first) / COUNT
                scores[key] = scores.get(key, torch.zeros(())) + share * gradient.abs()
    return scores


def naive_sample_scores(plain: Any, name: str) -> dict[str, Tensor]:
    model, encoders = plain
    scores: dict[str, Tensor] = {}
    for tower in encoders:
        tensors = {key: model.get_parameter(key) for key in keys_of(tower, model)}
        sites = [Site("text", 0, "attn.out", key, key, tuple(held.shape)) for key, held in tensors.items()]
        gradients = sample_gradients(encoders, list(tensors.values()), tower, "alignment")
        scores |= {site.key: held for site, held in sample_scores(model, gradients, sites, name, "unsafe").items()}
    return scores


def assert_top(patch: Path, scores: dict[str, Tensor]) -> None:
    """The highest scores are selected, but for a place in a thousand that rounding decides."""
    found = selections(patch)
    assert found.keys() == scores.keys() and len(found) == 4
    for key, values in scores.items():
        flat = values.detach().flatten()
        count = len(flat) - int((1 - FRACTION) * len(flat))
        expected = set(flat.argsort(descending=True)[:count].tolist())
        assert len(found[key]) == count and len(found[key] - expected) <= 1 + count // 1000


@pytest.mark.parametrize(
    ("options", "loss", "size"),
    [
        ((), "g-unsafe", COUNT),
        (("--set", "scorer.loss=g-safe-clip"), "g-safe-clip", COUNT),
        (("--set", "scorer.loss_batch=8"), "g-unsafe", 8),
        (("--set", "scorer.loss_batch=5", "--set", "scorer.loss=g-safe-clip", "--batch-size", 3), "g-safe-clip", 5),
    ],
)
def test_gradient_selects_the_weights_that_plain_autograd_ranks_highest(
    places: dict[str, Path], tmp_path: Path, plain: Any, options: tuple[object, ...], loss: str, size: int
) -> None:
    assert min(LOSS_BATCH.values()) >= COUNT
    done("edit", *flags(places), "--scorer", "gradient", *TOPK, *options, "-o", tmp_path / "patch")
    assert_top(tmp_path / "patch", naive_gradient_scores(plain, loss, size))


@pytest.mark.parametrize("name", ["snip", "fisher-ratio"])
def test_scorers_of_single_samples_select_what_a_loop_over_samples_does(
    places: dict[str, Path], tmp_path: Path, plain: Any, name: str
) -> None:
    done("edit", *flags(places), "--scorer", name, *TOPK, "-o", tmp_path / "patch")
    assert_top(tmp_path / "patch", naive_sample_scores(plain, name))


def test_dampening_multiplies_by_safe_over_unsafe_information(
    places: dict[str, Path], tmp_path: Path, plain: Any
) -> None:
    done("edit", *flags(places), "--scorer", "fisher-ratio", *TOPK, "--manipulator", "dampen", "-o", tmp_path / "p")
    held, ratios = load_file(tmp_path / "p" / "patch.safetensors"), naive_sample_scores(plain, "fisher-ratio")
    assert selections(tmp_path / "p").keys() == ratios.keys()
    for key, ratio in ratios.items():
        factors = held[f"after:{key}"] / held[f"before:{key}"]
        expected = 1 / ratio.flatten().numpy()[held[f"index:{key}"]]
        assert np.all(expected < 1) and np.allclose(factors, expected, rtol=1e-3)


# combinations


def test_every_kind_of_site_takes_every_scorer_of_gradients(places: dict[str, Path], tmp_path: Path) -> None:
    for name in ("gradient", "salun", "snip", "fisher-ratio"):
        done("edit", *flags(places), "--scorer", name, "--target", "*:*", *TOPK, "-o", tmp_path / name)
        assert len(selections(tmp_path / name)) == 2 * 13


def test_a_difference_set_of_salun_and_snip_leaves_out_what_the_safe_side_needs(
    places: dict[str, Path], tmp_path: Path
) -> None:
    given = ("--scorer", "salun", "--target", "*:proj", "--set", f"selector.fraction={FRACTION}")
    other = ("--set", "selector.other=snip", "--set", "selector.other_options={side: safe}")
    done("edit", *flags(places), *given, "--selector", "difference-set", *other, "-o", tmp_path / "difference")
    done("edit", *flags(places), *given, "--selector", "topk", "-o", tmp_path / "unsafe")
    safe = ("--scorer", "snip", "--set", "scorer.side=safe", "--target", "*:proj", *TOPK)
    done("edit", *flags(places), *safe, "-o", tmp_path / "safe")
    difference, unsafe, safe_ones = (selections(tmp_path / name) for name in ("difference", "unsafe", "safe"))
    assert difference == {key: unsafe[key] - safe_ones[key] for key in unsafe}
    assert all(0 < len(difference[key]) < len(unsafe[key]) for key in unsafe)


# the cache


@pytest.fixture(scope="module")
def cached(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that edits by `gradient` and by `fisher-ratio` left behind."""
    root = tmp_path_factory.mktemp("cached")
    with cache_at(root / "cache"):
        for name in ("gradient", "fisher-ratio"):
            done("edit", *flags(places), "--scorer", name, "-o", root / name)
    return root


def states(places: dict[str, Path], name: str, *more: object) -> set[str]:
    return {group["cache"] for group in done("plan", "--json", *flags(places), "--scorer", name, *more).json["groups"]}


@pytest.mark.parametrize("name", ["gradient", "fisher-ratio"])
def test_a_second_edit_is_served_from_the_cache_and_a_plan_says_so(
    places: dict[str, Path], cached: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TransformersClip, "load", refuse)
    again = ("edit", *flags(places), "--scorer", name)
    with cache_at(cached / "cache"):
        assert states(places, name) == {"hit"}
        done(*again, "-o", tmp_path / "same")
        done(*again, "--tau", 0.1, "--alpha", 0, "-o", tmp_path / "other")
    assert sha(tmp_path / "same" / "patch.safetensors") == sha(cached / name / "patch.safetensors")
    assert selections(tmp_path / "other") != selections(tmp_path / "same")


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("gradient", ("--tau", 0.3, "--alpha", 0.5, "--batch-size", 5), "hit"),
        ("gradient", ("--seed", 1), "miss"),  # the same tuples in other losses
        ("fisher-ratio", ("--seed", 1), "hit"),  # every sample alone, so their order does not matter
        ("gradient", ("--set", "scorer.loss_batch=8"), "miss"),
        ("gradient", ("--set", "scorer.loss=g-safe-clip"), "miss"),
        ("fisher-ratio", ("--set", "scorer.loss=g-unsafe"), "miss"),
        ("fisher-ratio", ("--limit", 8), "miss"),
        ("fisher-ratio", ("--manipulator", "dampen"), "hit"),  # which asks for the very same scores
        ("gradient", ("--manipulator", "dampen"), "hit"),
        ("snip", (), "miss"),
    ],
)
def test_the_cache_knows_what_scores_of_gradients_depend_on(
    places: dict[str, Path], cached: Path, name: str, more: tuple[object, ...], expected: str
) -> None:
    with cache_at(cached / "cache"):
        assert states(places, name, *more) == {expected}


def test_another_seed_shares_the_losses_out_anew(places: dict[str, Path], tmp_path: Path) -> None:
    for seed in (0, 1):
        for name, more in (("gradient", ("--set", "scorer.loss_batch=4")), ("fisher-ratio", ())):
            given = ("--scorer", name, *more, "--no-cache", *TOPK, "--seed", seed)
            done("edit", *flags(places), *given, "-o", tmp_path / f"{name}-{seed}")
    assert selections(tmp_path / "gradient-0") != selections(tmp_path / "gradient-1")
    pairs = zip(*(selections(tmp_path / f"fisher-ratio-{seed}").values() for seed in (0, 1)), strict=True)
    assert all(len(one ^ other) <= 2 for one, other in pairs)


# errors


def refused(tmp_path: Path, own_cache: Path, *args: object) -> str:
    message = as_error(run(*args, "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists() and not list(own_cache.rglob("*.safetensors"))
    return message


@pytest.mark.parametrize("name", ["gradient", "salun", "snip", "fisher-ratio"])
@pytest.mark.parametrize("command", ["edit", "plan"])
def test_captions_alone_are_refused_before_the_model_is_loaded(
    places: dict[str, Path], tmp_path: Path, own_cache: Path, name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editkit.editing.run.load_model", None)
    given = (command, *flags(places, "texts"), "--scorer", name, "--target", "text:attn.out")
    message = refused(tmp_path, own_cache, *given)
    assert "no tuple with a pair of captions and a pair of images" in message and "`uwm`" in message


@pytest.mark.parametrize("name", ["gradient", "snip"])
@pytest.mark.parametrize(
    "key", ["text_model.encoder.layers.1.self_attn.out_proj.weight", "vision_model.post_layernorm.bias"]
)
def test_a_nan_anywhere_in_either_tower_is_named(
    tmp_path: Path, places: dict[str, Path], own_cache: Path, name: str, key: str
) -> None:
    places = places | {"model": tiny_clip(tmp_path / "model")}
    spoil(places["model"], key, lambda values: values.__setitem__(3, np.nan))
    given = ("edit", *flags(places), "--scorer", name, "--target", "text:attn.out")
    assert f"Tensor {key} holds values that are not finite" in refused(tmp_path, own_cache, *given)
