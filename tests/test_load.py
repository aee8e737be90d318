"""`editkit.load` and `load_captioner`: a model in Python, edited or not, gives what the library itself gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import done
from llava_models import tiny_llava
from models import elements, images_of, spoil, table, tiny_clip
from PIL import Image
from plain_clip import embed
from torch import Tensor

import editkit
from editkit.errors import DataError, EditkitError, ModelError, PatchError, RecipeError
from editkit.patch.patch import Patch

COUNT = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("load") / "model")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("load") / "llava")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("load"), 6)


@pytest.fixture(scope="module")
def images() -> list[Path]:
    return [images_of(element, "calibration")[0] for element in elements("calibration")[:COUNT]]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [element["safe"] for element in elements("calibration")[:COUNT]]


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.double(), torch.as_tensor(expected), rtol=0, atol=1e-5)


def edited(model: Path, folder: Path, *flags: object) -> tuple[Path, Path]:
    """A patch, and the model that it was applied to."""
    patch, saved = folder / "patch", folder / "saved"
    done("edit", "--model", model, "--workers", 0, *flags, "-o", patch, "--save", saved)
    return patch, saved


# embeddings and scores


def test_embeddings_are_those_of_transformers_itself(model: Path, images: list[Path], texts: list[str]) -> None:
    loaded = editkit.load(model)
    pictures, captions = loaded.embed_images(images), loaded.embed_texts(texts)
    for found, expected in zip((pictures, captions), embed(model, images, texts), strict=True):
        assert found.shape == (COUNT, 24) and found.dtype == torch.float32 and found.device.type == "cpu"
        close(found, expected)


def test_images_may_be_files_or_open_and_batches_of_any_size(model: Path, images: list[Path], texts: list[str]) -> None:
    loaded = editkit.load(str(model))
    pictures, captions = loaded.embed_images(images), loaded.embed_texts(texts)
    mixed: list[Image.Image | str | Path] = [
        Image.open(images[0]).convert("RGBA"),
        str(images[1]),
        *map(Image.open, images[2:]),
    ]
    close(loaded.embed_images(mixed), pictures.double())
    close(loaded.embed_images(images, batch_size=2), pictures.double())
    close(loaded.embed_texts(texts, batch_size=2), captions.double())
    close(loaded.embed_texts(texts[::-1]), captions.flip(0).double())


def test_scores_are_the_logits_that_clip_shows(model: Path, images: list[Path], texts: list[str]) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    pixels = AutoImageProcessor.from_pretrained(model)([Image.open(one) for one in images], return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(model)(texts[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(model)(**pixels, **tokens).logits_per_image
    found = editkit.load(model).scores(images, texts[:3], batch_size=2)
    assert found.shape == (COUNT, 3)
    close(found, expected.double())


def test_siglip_shows_probabilities(tmp_path: Path, images: list[Path]) -> None:
    from siglip_models import tiny_siglip

    loaded = editkit.load(tiny_siglip(tmp_path / "siglip"))
    texts = ["a dog", "two people share a meal"]
    found = loaded.scores(images, texts)
    assert bool(((found > 0) & (found < 1)).all())
    cosines = loaded.embed_images(images) @ loaded.embed_texts(texts).T
    assert torch.equal(found.flatten().argsort(), cosines.flatten().argsort())


def test_half_precision_is_for_the_model_and_embeddings_stay_float32(model: Path, texts: list[str]) -> None:
    loaded = editkit.load(model, dtype="bfloat16", towers=["text"])
    found, exact = loaded.embed_texts(texts), editkit.load(model).embed_texts(texts)
    assert {tensor.dtype for tensor in loaded.model.module.parameters()} == {torch.bfloat16}
    assert found.dtype == torch.float32 and 1e-6 < float((found - exact).abs().max()) < 0.05


# patches


def test_a_patch_in_memory_is_the_model_it_was_applied_to(
    model: Path, pairs: Path, images: list[Path], texts: list[str], tmp_path: Path
) -> None:
    patch, saved = edited(model, tmp_path, "--data", pairs, "--tau", 0.3)
    expected, base = editkit.load(saved), editkit.load(model)
    for given in (patch, str(patch), Patch.load(patch)):
        found = editkit.load(model, patches=[given])
        assert torch.equal(found.embed_images(images), expected.embed_images(images))
        assert torch.equal(found.scores(images, texts), expected.scores(images, texts))
        assert not torch.equal(found.embed_texts(texts), base.embed_texts(texts))
        assert torch.equal(found.model.parameter("logit_scale"), base.model.parameter("logit_scale"))
    for key, tensor in base.model.module.state_dict().items():  # laid over, not written in
        assert torch.equal(found.model.module.state_dict()[key], tensor)


def test_a_patch_of_what_belongs_to_no_tower_reaches_the_scores(
    model: Path, images: list[Path], texts: list[str], tmp_path: Path
) -> None:
    patch, saved = edited(model, tmp_path, "--target", "all", "--alpha", 0.9)
    assert "logit_scale" in Patch.load(patch).changes
    found = editkit.load(model, patches=[patch]).scores(images, texts)
    assert torch.equal(found, editkit.load(saved).scores(images, texts))


def test_patches_of_different_tensors_lie_over_one_another(
    model: Path, images: list[Path], texts: list[str], tmp_path: Path
) -> None:
    flags = ("--selector", "all", "--alpha", 0.5, "--target")
    (text, _), (vision, _) = (
        edited(model, tmp_path / target[:4], *flags, target) for target in ("text:attn.out", "vision:mlp.out")
    )
    both = editkit.load(model, patches=[text, vision])
    assert torch.equal(both.embed_texts(texts), editkit.load(model, patches=[text]).embed_texts(texts))
    assert torch.equal(both.embed_images(images), editkit.load(model, patches=[vision]).embed_images(images))
    with pytest.raises(PatchError, match=r"Two of the patches change tensor text_model.*out_proj\.weight"):
        editkit.load(model, patches=[text, vision, text])


def test_a_patch_of_another_model_is_refused(model: Path, pairs: Path, tmp_path: Path) -> None:
    patch, _ = edited(model, tmp_path, "--data", pairs, "--tau", 0.3)
    with pytest.raises(PatchError):
        editkit.load(tiny_clip(tmp_path / "other", seed=1), patches=[patch])


# towers


def test_one_tower_alone_gives_the_same_and_says_what_it_cannot(
    model: Path, images: list[Path], texts: list[str], tmp_path: Path
) -> None:
    patch, _ = edited(model, tmp_path, "--selector", "all", "--alpha", 0.5, "--target", "text:attn.out")
    alone = editkit.load(model, towers=["vision"], patches=[patch])  # what the patch changes is not there
    assert torch.equal(alone.embed_images(images), editkit.load(model).embed_images(images))
    with pytest.raises(ModelError, match=r"The text tower of .* is not loaded; loaded: vision\."):
        alone.embed_texts(texts)
    with pytest.raises(ModelError, match=r"`scores` compares images with captions, .*: its text tower is not loaded\."):
        alone.scores(images, texts)


def test_a_model_without_a_joint_space_says_why_it_shows_no_scores(llava: Path, images: list[Path]) -> None:
    loaded = editkit.load(llava)
    assert loaded.embed_images(images).shape == (COUNT, 32) and loaded.embed_texts(["a dog"]).shape == (1, 24)
    with pytest.raises(ModelError, match="feeds a language model") as caught:
        loaded.scores(images, ["a dog"])
    assert caught.value.remedy == "Use `embed_images` or `embed_texts` alone."


# captions


def test_a_captioner_is_the_adapters_own(llava: Path, images: list[Path]) -> None:
    from transformers import LlavaForConditionalGeneration

    captioner = editkit.load_captioner(llava, device="cpu", dtype="float32")
    pictures = [Image.open(image).convert("RGB") for image in images[:2]]
    captions = captioner.captions(pictures, max_new_tokens=4)
    assert len(captions) == 2 and all(isinstance(caption, str) for caption in captions)
    assert isinstance(captioner.module, LlavaForConditionalGeneration) and captioner.prompt


def test_a_family_that_writes_no_captions_names_those_that_do(model: Path) -> None:
    with pytest.raises(ModelError, match="Adapter 'clip', which .* belongs to, writes no captions") as caught:
        editkit.load_captioner(model)
    assert caught.value.remedy.startswith("Adapters that do: ") and "llava" in caught.value.remedy


def test_weights_that_are_no_numbers_are_refused(model: Path, llava: Path, tmp_path: Path) -> None:
    clip, copy = (shutil.copytree(folder, tmp_path / folder.name) for folder in (model, llava))
    spoil(clip, "text_model.final_layer_norm.weight", lambda values: values.fill(float("nan")))
    with pytest.raises(ModelError, match=r"text_model\.final_layer_norm\.weight holds values that are not finite"):
        editkit.load(clip)
    key = "language_model.model.norm.weight"
    shard = json.loads((copy / "model.safetensors.index.json").read_text())["weight_map"][key]
    spoil(copy, key, lambda values: values.fill(float("inf")), shard)
    with pytest.raises(ModelError, match=r"language_model\.norm\.weight holds values that are not finite"):
        editkit.load_captioner(copy)


# what is refused


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"dtype": "float8"}, RecipeError, "load.dtype = 'float8'"),
        ({"device": "abacus"}, RecipeError, "Device 'abacus'"),
        ({"towers": ["audio"]}, ModelError, "Towers audio were asked for; .* has: text, vision"),
        ({"towers": []}, ModelError, "Towers none were asked for"),
        ({"patches": ["no-such-patch"]}, EditkitError, "no-such-patch"),
    ],
    ids=lambda value: next(iter(value), "none") if isinstance(value, dict) else "",
)
def test_what_cannot_be_loaded_is_said(options: Any, error: type[EditkitError], said: str, model: Path) -> None:
    with pytest.raises(error, match=said) as caught:
        editkit.load(model, **options)
    assert caught.value.problem and caught.value.remedy


def test_what_cannot_be_embedded_is_said(model: Path, images: list[Path], tmp_path: Path) -> None:
    loaded = editkit.load(model)
    no_captions: list[Any] = [[], "a dog"]
    no_images: list[Any] = [[], str(images[0]), images[0], Image.open(images[0])]
    for nothing in no_captions:
        with pytest.raises(DataError, match="No list of captions was given"):
            loaded.embed_texts(nothing)
    for nothing in no_images:
        with pytest.raises(DataError, match="No list of images or image files was given"):
            loaded.embed_images(nothing)
    with pytest.raises(DataError, match="missing.jpg does not exist"):
        loaded.embed_images([tmp_path / "missing.jpg"])
    with pytest.raises(RecipeError, match="batch_size = 0"):
        loaded.embed_texts(["a dog"], batch_size=0)


def test_the_functions_are_listed_before_anything_heavy_is_imported() -> None:
    names = {"load", "load_captioner", "Loaded"}
    code = f"import sys, editkit; print({names} <= set(dir(editkit)), 'torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]
