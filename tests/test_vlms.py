"""LLaVA's kin: other projectors, other names, other things that a language model is shown of a vision tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vlm_models import plain_vlm, tiny_vlm
from vlm_settings import PUBLISHED

from editkit.files.checkpoint import Checkpoint
from editkit.models.captioner import load_captioner
from editkit.testing import check_adapter
from editkit.testing.adapter_case import noise

ADAPTERS = {
    "paligemma": "paligemma",
    "gemma3": "gemma3",
    "idefics3": "smolvlm",
    "smolvlm": "smolvlm",
}

QUESTION = "Question: Please, provide a caption for the image. Answer:"
USER = f"USER: <image>\n{QUESTION} ASSISTANT:"
IDEFICS = f"<|im_start|>User:<image>{QUESTION}<end_of_utterance>\nAssistant:"
ASKED = {
    "llava_next_video": USER,
    "llava_onevision": f"<|im_start|>user <image>\n{QUESTION}<|im_end|><|im_start|>assistant\n",
    "vipllava": f"###Human: <image>\n{QUESTION}###Assistant:",
    "paligemma": "<image>caption en",
    "gemma3": f"<start_of_turn>user\n<start_of_image>{QUESTION}<end_of_turn>\n<start_of_turn>model\n",
    "idefics3": IDEFICS,
    "smolvlm": IDEFICS,
}
"""How each is asked where its folder has no chat template, by its `model_type`."""


def adapter_of(name: str) -> str:
    return ADAPTERS.get(PUBLISHED[name].config["model_type"], "llava")


@pytest.mark.parametrize("published", [True, False], ids=["published", "live names"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_they_keep_the_contract(name: str, published: bool, tmp_path: Path) -> None:
    source = tiny_vlm(tmp_path / "model", name, published=published, processor=False)
    check_adapter(adapter_of(name), source, library=plain_vlm(name))


# what they say of images


def captions_by_transformers(source: Path, name: str, images: list[Any]) -> list[str]:
    """The processor and the model as the library's documentation uses them, an image at a time."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = AutoModelForImageTextToText.from_pretrained(source).eval(), AutoProcessor.from_pretrained(source)
    said = []
    for image in images:
        inputs = processor(images=image, text=ASKED[PUBLISHED[name].config["model_type"]], return_tensors="pt")
        made = model.generate(**inputs, do_sample=False, max_new_tokens=6)
        said.append(processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return said


@pytest.mark.parametrize("name", PUBLISHED)
def test_they_say_what_they_say_in_transformers(name: str, tmp_path: Path) -> None:
    if PUBLISHED[name].config["model_type"] == "smolvlm":
        pytest.importorskip("num2words")  # the library's processor of SmolVLM 2 needs it
    source = tiny_vlm(tmp_path / "model", name)
    captioner = load_captioner(source)
    images = noise()
    said = captioner.captions(images, max_new_tokens=6)
    assert said == captions_by_transformers(source, name, images)
    assert all(said)
    for key in Checkpoint.open(source).tensors:
        assert captioner.parameter(key).shape
