"""Single towers of CLIP: a pipeline's text encoders, IP-Adapter's image encoder, a tower that LLaVA was made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_family_models import (
    plain_tower,
    tiny_image_encoder,
    tiny_pipeline,
    tiny_text_encoder,
    write_image_processor,
    write_tokenizer,
)
from command_line import as_error, done, run
from hub_server import serving
from hub_transformers_repositories import clip as write_clip
from models import table
from on_the_hub import on_the_hub
from safetensors.torch import load_file
from siglip_models import plain_siglip_tower, tiny_siglip_tower
from torch import Tensor

import editkit
from editkit.errors import ModelError
from editkit.testing import check_adapter
from editkit_clip.lone_tower import ClipText


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("lone") / "pipeline")


# the contract, on every form in which towers are published


@pytest.mark.parametrize(
    ("part", "adapter"),
    [("text_encoder", "clip-text"), ("text_encoder_2", "clip-text"), ("image_encoder", "clip-vision")],
)
def test_a_part_of_a_pipeline_keeps_the_contract(part: str, adapter: str, pipeline: Path) -> None:
    check_adapter(adapter, pipeline / part, library=plain_tower)


def test_a_text_tower_as_transformers_saves_it_keeps_it(tmp_path: Path) -> None:
    source = tiny_text_encoder(tmp_path / "model", published=False)
    write_tokenizer(source)
    check_adapter("clip-text", source, library=plain_tower)


@pytest.mark.parametrize("published", [True, False])
def test_a_vision_tower_without_a_projection_keeps_it(published: bool, tmp_path: Path) -> None:
    source = tiny_image_encoder(tmp_path / "model", projected=False, published=published)
    write_image_processor(source)
    check_adapter("clip-vision", source, library=plain_tower)


@pytest.mark.parametrize(("tower", "published"), [("text", True), ("text", False), ("vision", True), ("vision", False)])
def test_siglips_towers_keep_it(tower: str, published: bool, tmp_path: Path) -> None:
    source = tiny_siglip_tower(tmp_path / "model", tower, published=published)
    check_adapter(f"siglip-{tower}", source, library=plain_siglip_tower)


# what a tower alone allows


def test_an_edit_of_a_text_encoder_needs_captions_alone(pipeline: Path, tmp_path: Path) -> None:
    pairs = table(tmp_path / "data", 4, columns=("safe_text", "unsafe_text"))
    source, edited = pipeline / "text_encoder", tmp_path / "edited"
    flags = ("--data", f"pairs:{pairs}", "--scorer", "uwm", "--workers", 0)
    ran = done("edit", "--model", source, *flags, "-o", tmp_path / "p", "--save", edited)
    assert "pooled output" in " ".join((ran.out + ran.err).split())
    before, after = (load_file(place / "model.safetensors") for place in (source, edited))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"text_model.encoder.layers.{layer}.self_attn.out_proj.weight" for layer in range(2)}
    assert (edited / "tokenizer.json").is_file(), "the edited folder loads alone"


def test_it_is_found_from_inside_its_pipeline(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pipeline / "text_encoder_2")
    assert "tokenizer of its pipeline (tokenizer_2)" in done("plan", "--model", ".", "--scorer", "magnitude").err


@pytest.mark.parametrize("command", [("eval", "safeground"), ("edit", "--scorer", "gradient")])
def test_what_compares_images_with_captions_is_refused_and_says_where_it_can_be_done(
    command: tuple[str, ...], pipeline: Path, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "out") if command[0] == "edit" else ()
    data = ("--data", f"pairs:{table(tmp_path / 'data', 2)}")
    error = as_error(run(*command, "--model", pipeline / "text_encoder", *data, *output))
    assert "it is a text tower alone" in error and "takes it in by `edit --text-tower`" in error


def test_the_other_tower_is_not_there(pipeline: Path) -> None:
    adapter = ClipText()
    with pytest.raises(ModelError, match="is a text tower alone"):
        adapter.load(adapter.open(str(pipeline / "text_encoder")), device="cpu", dtype="float32", towers=("vision",))


def test_a_whole_clip_and_its_text_encoder_exchange_towers(pipeline: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip")
    encoder = pipeline / "text_encoder"
    done("edit", "--model", tmp_path / "clip", "--text-tower", encoder, "-o", tmp_path / "p", "--save", tmp_path / "a")
    done("edit", "--model", encoder, "--text-tower", tmp_path / "clip", "-o", tmp_path / "q", "--save", tmp_path / "b")
    whole, given, into_clip, into_encoder = (
        load_file(place / "model.safetensors") for place in (tmp_path / "clip", encoder, tmp_path / "a", tmp_path / "b")
    )
    for key, tensor in given.items():
        assert torch.equal(into_clip[key], tensor) and torch.equal(into_encoder[key], whole[key])
    assert torch.equal(into_clip["text_projection.weight"], whole["text_projection.weight"])


def test_without_a_tokenizer_anywhere_it_says_what_to_copy(tmp_path: Path) -> None:
    source = tiny_text_encoder(tmp_path / "somewhere")
    (source / "config.json").write_text(
        json.dumps({**json.loads((source / "config.json").read_text()), "vocab_size": 7})
    )
    pairs = table(tmp_path / "data", 2, columns=("safe_text", "unsafe_text"))
    ran = run("edit", "--model", source, "--data", f"pairs:{pairs}", "-o", tmp_path / "p", "--workers", 0)
    assert "has no tokenizer" in as_error(ran)


def test_a_pipeline_of_the_hub_is_edited_by_its_parts(tmp_path: Path) -> None:
    """The tokenizer is the pipeline's, also where the weights are an archive and were converted elsewhere."""
    source = tiny_pipeline(tmp_path / "pipeline")
    weights = source / "text_encoder" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    flags = ("--data", f"pairs:{table(tmp_path / 'data', 2, columns=('safe_text', 'unsafe_text'))}", "--workers", 0)
    with serving() as hub:
        hub.add("someone/pipeline", source, "model")
        parts = ("text_encoder", "text_encoder_2")
        ran = on_the_hub(
            hub,
            *(("edit", "--model", f"someone/pipeline/{part}", *flags, "-o", tmp_path / part) for part in parts),
            cache=tmp_path / "cache",
        )
    for one, tokenizer in zip(ran, ("tokenizer", "tokenizer_2"), strict=True):
        assert one.code == 0, one.err
        assert f"tokenizer of its pipeline ({tokenizer})" in one.err


# diffusers


def test_an_edited_text_encoder_loads_in_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTextModel, CLIPTokenizer

    parts = tiny_pipeline(tmp_path / "parts")
    made = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(parts / "tokenizer"),
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            sample_size=8,
            attention_head_dim=2,
            cross_attention_dim=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.save_pretrained(tmp_path / "pipeline")
    source, edited = tmp_path / "pipeline" / "text_encoder", tmp_path / "edited"
    pairs = table(tmp_path / "data", 4, columns=("safe_text", "unsafe_text"))
    flags = ("--data", f"pairs:{pairs}", "--workers", 0)
    done("edit", "--model", source, *flags, "-o", tmp_path / "p", "--save", edited)
    before = _prompt(diffusers, tmp_path / "pipeline")
    shutil.rmtree(source)
    shutil.copytree(edited, source)
    after = _prompt(diffusers, tmp_path / "pipeline")

    model = editkit.load(edited)
    ids = made.tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model.model.module(input_ids=ids).last_hidden_state
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-3)


PROMPT = "two people share a meal at night"


def _prompt(diffusers: Any, folder: Path) -> Tensor:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    embedded, _ = pipeline.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=False)
    found: Tensor = embedded
    return found
