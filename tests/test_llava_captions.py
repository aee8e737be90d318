"""LLaVA's captions: as transformers generates them, the same again, and those of an edited checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_models import tiny_llava
from PIL import Image

from editkit.errors import ModelError
from editkit.files.bits import to_bits, to_tensor
from editkit.models.variants import Variant, applied
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit_llava.adapter import Llava
from editkit_llava.families import LLAVA_PROMPT as PROMPT

ADAPTER = Llava()
FAMILIES = ("llava", "llava_next")


def pictures(count: int = 3) -> list[Image.Image]:
    draw, shapes = np.random.default_rng(1), ((30, 40, 3), (64, 24, 3), (40, 90, 3), (24, 24, 3))
    return [Image.fromarray(draw.integers(0, 256, shapes[i % 4], dtype=np.uint8)) for i in range(count)]


def captioner(folder: Path, **settings: Any) -> Any:
    return ADAPTER.load_captioner(ADAPTER.open(str(folder)), **{"device": "cpu", "dtype": "float32", **settings})


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("captions") / "model", family=request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return captioner(folder)


def negated(folder: Path) -> Patch:
    """An edit that negates every weight of the first blocks' MLP outputs."""
    files = ADAPTER.open(str(folder))
    changes = []
    for layer in range(3):
        key = f"vision_tower.vision_model.encoder.layers.{layer}.mlp.fc2.weight"
        info, bits = files.checkpoint.info(key), files.checkpoint.read(key)
        changes.append(Change.between(key, info.dtype, bits, to_bits(-to_tensor(bits, info.dtype, key))))
    return Patch.create(files.checkpoint, [change for change in changes if change is not None], {})


def test_the_released_prompt_stands_in_the_turn_of_a_conversation(folder: Path, model: Any) -> None:
    """Greedy, one image at a time: what transformers alone makes of the prompt written out."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    library, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert model.prompt == PROMPT == "Question: Please, provide a caption for the image. Answer:"
    expected = []
    for image in pictures():
        inputs = processor(images=image, text=f"USER: <image>\n{PROMPT} ASSISTANT:", return_tensors="pt")
        made = library.generate(**inputs, do_sample=False, max_new_tokens=12)
        expected.append(processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    assert model.captions(pictures(), max_new_tokens=12) == expected
    assert len(set(expected)) > 1 and "USER" not in "".join(expected)


def test_without_a_chat_template_the_turn_has_the_form_that_llava_was_trained_on(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "chat_template.jinja").unlink()
    assert captioner(copy).captions(pictures(), max_new_tokens=8) == model.captions(pictures(), max_new_tokens=8)


def test_another_prompt_gives_other_captions(model: Any) -> None:
    assert model.captions(pictures(), "Stop!", max_new_tokens=8) != model.captions(pictures(), max_new_tokens=8)


def test_images_of_different_shapes_are_captioned_in_one_batch_as_alone(model: Any) -> None:
    alone = [caption for image in pictures(4) for caption in model.captions([image], max_new_tokens=8)]
    assert model.captions(pictures(4), max_new_tokens=8) == alone
    assert model.captions([]) == []


def test_sampling_is_repeated_by_its_seed_and_leaves_the_random_state_alone(model: Any) -> None:
    state = torch.random.get_rng_state()
    first = model.captions(pictures(), temperature=1.0, max_new_tokens=16, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert model.captions(pictures(), temperature=1.0, max_new_tokens=16, seed=3) == first
    assert model.captions(pictures(), temperature=1.0, max_new_tokens=16, seed=4) != first
    assert model.captions(pictures(), max_new_tokens=16) != first


def test_a_sampling_rule_of_the_folder_decides_nothing(folder: Path, model: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    settings = json.loads((copy / "generation_config.json").read_text())
    own = {"do_sample": True, "temperature": 0.3, "top_k": 2, "top_p": 0.5}
    (copy / "generation_config.json").write_text(json.dumps(settings | own))
    for temperature in (0.0, 1.0):
        given = {"temperature": temperature, "max_new_tokens": 8}
        assert captioner(copy).captions(pictures(), **given) == model.captions(pictures(), **given)


def test_a_patch_laid_over_the_model_speaks_as_the_edited_checkpoint(folder: Path, model: Any, tmp_path: Path) -> None:
    patch = negated(folder)
    patch.apply(folder, tmp_path / "edited")
    base = model.captions(pictures(), max_new_tokens=12)
    with applied(model, Variant("edited", patch.changes), list(patch.changes)):
        live = model.captions(pictures(), max_new_tokens=12)
    assert live == captioner(tmp_path / "edited").captions(pictures(), max_new_tokens=12)
    assert live != base == model.captions(pictures(), max_new_tokens=12)


def test_shards_whose_index_has_no_metadata_are_read(folder: Path, model: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": json.loads(index.read_text())["weight_map"]}))
    assert captioner(copy).captions(pictures(), max_new_tokens=8) == model.captions(pictures(), max_new_tokens=8)


def test_an_adapter_in_the_folder_is_not_laid_over_the_model(folder: Path, model: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForImageTextToText

    copy = shutil.copytree(folder, tmp_path / "model")
    settings = peft.LoraConfig(r=2, target_modules=["fc2"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(folder), settings).save_pretrained(copy)
    assert (copy / "adapter_model.safetensors").is_file()
    assert captioner(copy).captions(pictures(), max_new_tokens=8) == model.captions(pictures(), max_new_tokens=8)


def test_every_tensor_of_the_checkpoint_is_found_live(folder: Path, model: Any) -> None:
    checkpoint = ADAPTER.open(str(folder)).checkpoint
    for key, info in checkpoint.tensors.items():
        assert torch.equal(model.parameter(key), to_tensor(checkpoint.read(key), info.dtype, key)), key


def test_a_device_map_and_half_precision_are_taken(folder: Path) -> None:
    spread = captioner(folder, dtype="float16", device_map={"": "cpu"})
    assert {tensor.dtype for tensor in spread.module.parameters()} == {torch.float16}
    assert all(isinstance(caption, str) for caption in spread.captions(pictures(), max_new_tokens=4))


def test_a_tensor_that_did_not_fit_on_the_devices_speaks_but_takes_no_edit(tmp_path: Path) -> None:
    folder, key = tiny_llava(tmp_path / "model"), "language_model.lm_head.weight"
    spread = captioner(folder, device_map={"model": "cpu", "lm_head": "disk"})
    assert spread.captions(pictures(), max_new_tokens=6) == captioner(folder).captions(pictures(), max_new_tokens=6)
    with pytest.raises(ModelError, match=f"{key} did not fit on the devices"):
        spread.parameter(key)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_older_folder_whose_processor_does_not_say_the_patch_size_is_completed(tmp_path: Path, family: str) -> None:
    folder = tiny_llava(tmp_path / "model", family=family)
    expected = captioner(folder).captions(pictures(), max_new_tokens=8)
    (folder / "processor_config.json").unlink()
    assert captioner(folder).captions(pictures(), max_new_tokens=8) == expected
