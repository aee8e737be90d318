"""open_clip's SigLIP: timm's tower that pools by attention, and captions that always fill the context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from command_line import as_error, done, run
from models import table
from open_clip_models import (
    HALF,
    add_architecture,
    mt5_tokenizer,
    plain_open_clip,
    random_tensors,
    siglip_settings,
    t5_tokenizer,
    tiny_open_clip_siglip,
    write_folder,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from editkit.components.load import default_host
from editkit.components.site import Site
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.testing import check_adapter
from editkit.testing.adapter_case import noise
from editkit_siglip.open_clip_format import LoadedOpenClipSiglip, OpenClipSiglip

CONTEXT = 64
TEXTS = ["a dog", "Two people share a meal, late at night!", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open_clip_siglip(tmp_path_factory.mktemp("siglip") / "model")


def opened(source: str | Path) -> tuple[LoadedOpenClipSiglip, list[Site]]:
    adapter = OpenClipSiglip()
    files = adapter.open(str(source))
    model = adapter.load(files, device="cpu", dtype="float32", towers=("text", "vision"))
    assert isinstance(model, LoadedOpenClipSiglip)
    return model, adapter.sites(files)


def test_siglip_keeps_the_contract(folder: Path) -> None:
    check_adapter("open_clip-siglip", folder, library=plain_open_clip)


def test_siglip_2_whose_padding_is_not_its_end_of_text_keeps_it_too(tmp_path: Path) -> None:
    settings = siglip_settings()
    settings["text_cfg"]["act_kwargs"] = open_clip.get_model_config("ViT-B-16-SigLIP2-256")["text_cfg"]["act_kwargs"]
    source = write_folder(tmp_path / "model", settings, tokenizer=mt5_tokenizer, preprocess=HALF)
    check_adapter("open_clip-siglip", source, library=plain_open_clip)


def test_a_text_tower_without_projection_keeps_it_too(tmp_path: Path) -> None:
    settings = siglip_settings()  # as ViT-SO400M-16-SigLIP-i18n-256
    del settings["text_cfg"]["proj_bias"]
    settings["text_cfg"]["proj_type"] = "none"
    source = write_folder(tmp_path / "model", settings, tokenizer=t5_tokenizer, preprocess=HALF)
    check_adapter("open_clip-siglip", source, library=plain_open_clip)
    assert [site for site in opened(source)[1] if site.role == "proj"] == []


def test_a_checkpoint_with_its_architectures_name_keeps_it_too(tmp_path: Path) -> None:
    settings = siglip_settings()
    t5_tokenizer(tmp_path / "tokenizer")
    settings["text_cfg"]["hf_tokenizer_name"] = str(tmp_path / "tokenizer")
    name = add_architecture(tmp_path, "ViT-editkit-SigLIP", settings)
    save_file(random_tensors(settings), tmp_path / "weights.safetensors")
    check_adapter("open_clip-siglip", f"open_clip:{name}@{tmp_path / 'weights.safetensors'}", library=plain_open_clip)


# captions


def test_the_whole_context_runs_however_short_the_captions(folder: Path) -> None:
    model, _ = opened(folder)
    library = open_clip.get_tokenizer(f"local-dir:{folder}")
    for texts in (TEXTS, TEXTS[:1]):
        inputs, _ = model.text_inputs(model.tokenize(texts), "real")
        assert torch.equal(inputs["input_ids"], library(texts))
        assert inputs["input_ids"].shape == (len(texts), CONTEXT)


def test_token_masks(folder: Path) -> None:
    model, _ = opened(folder)
    ids = model.tokenize(TEXTS)
    assert [row[-1] for row in ids] == [1, 1, 1] and ids[2] == [1]
    masks = {tokens: model.text_inputs(ids, tokens)[1] for tokens in ("real", "released", "all")}
    for row, own in enumerate(ids):
        found = {tokens: mask[row].nonzero().flatten().tolist() for tokens, mask in masks.items()}
        assert found["real"] == [*range(len(own)), CONTEXT - 1]
        assert found["released"] == list(range(len(own) - 1))
        assert found["all"] == list(range(CONTEXT))


def test_a_caption_as_long_as_the_context_is_real_throughout(folder: Path) -> None:
    model, _ = opened(folder)
    (ids,) = model.tokenize(["the dog runs on and on " * 40])
    assert (len(ids), ids[-1]) == (CONTEXT, 1)
    assert bool(model.text_inputs([ids], "real")[1].all())


# sites


def test_the_pooling_head_sees_one_token_but_for_its_keys_and_values(folder: Path) -> None:
    _, sites = opened(folder)
    assert {site.name for site in sites if site.pooled} == {
        "text:proj",
        "vision:pool.attn.q[0]",
        "vision:pool.attn.out[0]",
        "vision:pool.mlp.in[0]",
        "vision:pool.mlp.out[0]",
    }
    assert {(site.name, site.rows) for site in sites if site.key == "visual.trunk.attn_pool.kv.weight"} == {
        ("vision:pool.attn.k[0]", (0, 24)),
        ("vision:pool.attn.v[0]", (24, 48)),
    }


def test_a_spread_over_the_tokens_of_a_pooled_site_is_refused(folder: Path, tmp_path: Path) -> None:
    data = f"pairs:{table(tmp_path / 'data', 2)}"
    ran = run("edit", "--model", folder, "--data", data, "--target", "vision:pool.attn.out", "-o", tmp_path / "patch")
    assert "sees one token per sample" in as_error(ran)


# scores


def test_scores_are_the_probabilities_that_open_clip_shows(folder: Path) -> None:
    model, _ = opened(folder)
    images, texts = noise(), TEXTS[:2]
    preprocess = model.image_preprocessor()
    pictures = model.encode_images({"pixel_values": torch.stack([preprocess(i)["pixel_values"] for i in images])})
    captions = model.encode_texts(model.text_inputs(model.tokenize(texts), "real")[0])
    library, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    with torch.no_grad():
        logits, _ = library.eval().get_logits(torch.stack([transform(image) for image in images]), ids)
    found = model.scores(pictures @ captions.T)
    assert torch.allclose(found, torch.sigmoid(logits), atol=1e-6)
    assert float(found.min()) > 0.01 and float(found.max()) < 0.99 and float(found.std()) > 0.001


# files and a whole edit


def test_a_folder_and_a_name_lead_to_siglips_adapter(folder: Path) -> None:
    for source in (str(folder), "open_clip:ViT-B-16-SigLIP/webli", "open_clip:ViT-SO400M-14-SigLIP-384@x.bin"):
        assert find_adapter(source, default_host()).name == "open_clip-siglip"
    assert find_adapter("open_clip:ViT-B-32/openai", default_host()).name == "open_clip"


def test_an_edited_folder_is_one_that_open_clip_loads(folder: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    data = f"pairs:{table(tmp_path / 'data', 6)}"
    done("edit", "--model", folder, "--data", data, "-o", tmp_path / "patch", "--save", edited, "--workers", 0)
    before, after = (load_file(place / "open_clip_model.safetensors") for place in (folder, edited))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {
        *(f"text.transformer.resblocks.{layer}.attn.out_proj.weight" for layer in range(2)),
        *(f"visual.trunk.blocks.{layer}.mlp.fc2.weight" for layer in range(2)),
    }
    embed = plain_open_clip(str(edited))
    model, _ = opened(edited)
    grey: list[Any] = [Image.new("RGB", (50, 40), (90, 120, 30))]
    pixels = torch.stack([model.image_preprocessor()(image)["pixel_values"] for image in grey])
    library = torch.nn.functional.normalize(embed("vision", grey), dim=-1)
    assert torch.allclose(model.encode_images({"pixel_values": pixels}), library, atol=1e-6)


def test_an_architecture_without_a_bias_of_logits_is_no_siglip(tmp_path: Path) -> None:
    settings = {key: value for key, value in siglip_settings().items() if key != "init_logit_bias"}
    name = add_architecture(tmp_path, "ViT-editkit-noSigLIP", settings)
    save_file(random_tensors(settings), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="is no SigLIP") as caught:
        OpenClipSiglip().open(f"open_clip:{name}@{tmp_path / 'weights.safetensors'}")
    assert str(caught.value).count("\n") == 1
