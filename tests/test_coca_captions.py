"""CoCa says what an image shows, as open_clip's own decoding says it, and still does after an edit."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coca_models import END, FUSED, PUBLISHED, library_captions, tiny_coca
from command_line import cache_at, done
from models import table
from safetensors.torch import load_file, save_file

from editkit.components.load import default_host
from editkit.components.protocols import Captioner
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.testing.adapter_case import noise
from editkit_coca.adapter import CoCa

LIKE = pytest.mark.parametrize("like", PUBLISHED)
IMAGES = noise()


@pytest.fixture(scope="module")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda like: tiny_coca(tmp_path_factory.mktemp("coca") / "model", like))


def captioner(source: str | Path, dtype: str = "float32") -> Captioner:
    spec = find_adapter(str(source), default_host())
    assert spec.captions
    adapter = spec.load()()
    loaded: Captioner = adapter.load_captioner(adapter.open(str(source)), device="cpu", dtype=dtype)
    return loaded


# the likeliest words


@pytest.mark.parametrize("like", [*PUBLISHED, FUSED])
@pytest.mark.parametrize("words", [6, 12, 25])
def test_captions_are_those_of_open_clips_greedy_decoding(source_of: Any, like: str, words: int) -> None:
    ours = captioner(source_of(like)).captions(IMAGES, max_new_tokens=words)
    assert ours == library_captions(source_of(like), IMAGES, words + 2)  # begin and end of text are counted there
    assert len(set(ours)) == len(IMAGES)


def test_an_image_alone_has_the_caption_that_it_has_in_a_batch(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[1]))
    together = model.captions(IMAGES, max_new_tokens=30)
    assert len({len(text.split()) for text in together}) > 1  # the shorter are padded while the others go on
    assert [model.captions([image], max_new_tokens=30)[0] for image in IMAGES] == together


@LIKE
def test_captions_hold_words_only(source_of: Any, like: str) -> None:
    for caption in captioner(source_of(like)).captions(IMAGES, max_new_tokens=40):
        assert caption and caption == caption.strip()
        assert "<start_of_text>" not in caption and "<end_of_text>" not in caption


def test_a_caption_ends_where_the_decoder_ends_it_but_not_before_its_fourth_word(tmp_path: Path) -> None:
    source = eager_to_say(END, tmp_path)
    captions = captioner(source).captions(IMAGES, max_new_tokens=40)
    assert captions == captioner(source).captions(IMAGES, max_new_tokens=4)
    assert captions == library_captions(source, IMAGES, 42)


def test_padding_ends_a_caption_too(tmp_path: Path) -> None:
    assert captioner(eager_to_say(0, tmp_path)).captions(IMAGES) == [""] * len(IMAGES)


def eager_to_say(token: int, folder: Path) -> str:
    """A model that says one token whenever it may, of any image."""
    source = tiny_coca(folder / "model", PUBLISHED[0])
    weights = Path(source.partition("@")[2])
    tensors = load_file(weights)
    tensors["text_decoder.ln_final.weight"].zero_()
    tensors["text_decoder.text_projection"][:, token] = 100 * tensors["text_decoder.ln_final.bias"]
    save_file(tensors, weights)
    return source


def test_no_caption_is_longer_than_the_context(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    (whole,), (shorter,) = (model.captions(IMAGES[:1], max_new_tokens=words) for words in (500, 75))
    assert whole != shorter and whole.startswith(shorter)  # 76 positions have 76 next words


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_captions_too(source_of: Any, dtype: str) -> None:
    model = captioner(source_of(PUBLISHED[1]), dtype)
    assert model.parameter("text_decoder.text_projection").dtype == getattr(torch, dtype)
    first = captioner(source_of(PUBLISHED[1])).captions(IMAGES, max_new_tokens=1)
    assert model.captions(IMAGES, max_new_tokens=1) == first
    assert all(model.captions(IMAGES, max_new_tokens=12))


def test_a_damaged_decoder_is_an_error_and_no_caption(tmp_path: Path) -> None:
    model = captioner(tiny_coca(tmp_path / "model", PUBLISHED[0]))
    model.parameter("text_decoder.ln_final.bias")[3] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        model.captions(IMAGES)


# sampled words


def test_a_seed_gives_the_same_captions_and_another_seed_others(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    once, again, other = (model.captions(IMAGES, temperature=1.0, max_new_tokens=8, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert all(a != b for a, b in zip(once, other, strict=True))


def test_sampling_leaves_the_programs_own_random_numbers_alone(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    torch.manual_seed(3)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    model.captions(IMAGES, temperature=1.0, max_new_tokens=8)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_a_sampled_caption_does_not_depend_on_the_images_beside_it(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    together = model.captions(IMAGES, temperature=0.7, max_new_tokens=12, seed=5)
    turned = model.captions(IMAGES[::-1], temperature=0.7, max_new_tokens=12, seed=5)
    alone = [model.captions([image], temperature=0.7, max_new_tokens=12, seed=5)[0] for image in IMAGES]
    assert together == turned[::-1] == alone


def test_near_temperature_zero_sampling_is_the_likeliest_word(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    assert model.captions(IMAGES, temperature=1e-4, max_new_tokens=12) == model.captions(IMAGES, max_new_tokens=12)


def test_words_are_drawn_as_often_as_the_decoder_and_the_temperature_say(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    temperature, draws = 0.25, 120
    drawn = [model.captions(IMAGES[:1], temperature=temperature, max_new_tokens=1, seed=n)[0] for n in range(draws)]
    (likeliest,) = model.captions(IMAGES[:1], max_new_tokens=1)
    logits = model.module(preprocessed(model), torch.tensor([[END - 1]]), output_labels=False)["logits"][0, -1]
    logits[END] = float("-inf")
    chance = float((logits / temperature).softmax(dim=-1).max())
    assert 0.05 < chance < 0.95
    assert abs(drawn.count(likeliest) / draws - chance) <= 4 * (chance * (1 - chance) / draws) ** 0.5


def preprocessed(model: Any) -> torch.Tensor:
    pixels: torch.Tensor = model.image_preprocessor()(IMAGES[0])["pixel_values"][None]
    return pixels


# what cannot be asked


def test_a_prompt_is_refused(source_of: Any) -> None:
    model = captioner(source_of(PUBLISHED[0]))
    assert model.prompt == ""
    with pytest.raises(ModelError, match="takes none"):
        model.captions(IMAGES, "a photo of")
    assert model.captions(IMAGES, "", max_new_tokens=5) == model.captions(IMAGES, max_new_tokens=5)
    assert model.captions([]) == []


def test_a_device_map_is_refused(source_of: Any) -> None:
    adapter = CoCa()
    files = adapter.open(source_of(PUBLISHED[0]))
    with pytest.raises(ModelError, match="device map"):
        adapter.load_captioner(files, device="cpu", dtype="float32", device_map="auto")


# after an edit


@LIKE
def test_an_edited_vision_tower_is_captioned_by_its_own_decoder_as_open_clip_does(
    source_of: Any, tmp_path: Path, like: str
) -> None:
    source, pairs, saved = source_of(like), table(tmp_path / "pairs"), tmp_path / "saved"
    flags = ("--target", "vision:attn.out", "--tau", 0.3, "--workers", 0, "-o", tmp_path / "patch")
    with cache_at(tmp_path / "cache"):
        done("edit", "--model", source, "--data", pairs, *flags, "--save", saved)
    captions = captioner(saved).captions(IMAGES, max_new_tokens=20)
    assert captions == library_captions(saved, IMAGES, 22)
    assert captions != captioner(source).captions(IMAGES, max_new_tokens=20)
    old, (file,) = load_file(source.partition("@")[2]), saved.glob("*.safetensors")
    new = load_file(file)
    decoder = [key for key in old if key.startswith("text_decoder.")]
    assert decoder and all(torch.equal(old[key], new[key]) for key in decoder)
