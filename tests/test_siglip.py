"""SigLIP in transformers' format: its sites, captions that fill the context, probabilities, and a whole edit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, cache_at, done, run
from models import elements, images_of, table
from PIL import Image
from plain_clip import SAFEGROUND, Four, naive_safeground
from safetensors.torch import load_file, save_file
from siglip_models import CONTEXT, plain_inputs, plain_siglip, tiny_siglip
from torch import nn

from editkit.components.load import default_host
from editkit.errors import ModelError
from editkit.models.attention import VisibleAttention
from editkit.models.find import find_adapter
from editkit.testing import check_adapter
from editkit.testing.adapter_case import noise
from editkit_siglip.transformers_format import TransformersSiglip
from editkit_siglip.transformers_model import LoadedSiglip

PAIRS = 6
TEXTS = ["A robot, with a KNIFE!", "", "a friendly cat with a watermelon at the school."]
HEAD_FUSED = "vision_model.head.attention.in_proj_weight"
ADAPTER = TransformersSiglip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip(tmp_path_factory.mktemp("siglip") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedSiglip:
    return ADAPTER.load(ADAPTER.open(str(folder)), device="cpu", dtype="float32", towers=("text", "vision"))


# The contract


def test_siglip_keeps_the_contract(folder: Path) -> None:
    check_adapter("siglip", folder, library=plain_siglip)


def test_a_sharded_checkpoint_in_half_precision_keeps_it_too(tmp_path: Path) -> None:
    check_adapter("siglip", tiny_siglip(tmp_path / "model", "bfloat16", sharded=True))


def test_so_does_a_torch_archive(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    check_adapter("siglip", copy, library=plain_siglip)


# Sites


def test_a_block_has_six_sites_and_each_tower_a_head_that_pools(folder: Path) -> None:
    names = [site.name for site in ADAPTER.sites(ADAPTER.open(str(folder)))]
    blocks = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
    heads = ("pool.attn.q", "pool.attn.k", "pool.attn.v", "pool.attn.out", "pool.mlp.in", "pool.mlp.out")
    text = [f"text:{role}[{layer}]" for layer in range(2) for role in blocks]
    vision = [f"vision:{role}[{layer}]" for layer in range(2) for role in blocks]
    assert names == [*text, "text:proj", *vision, *(f"vision:{role}[0]" for role in heads)]


def test_only_keys_and_values_of_the_vision_head_see_every_patch(folder: Path) -> None:
    pooled = {site.role for site in ADAPTER.sites(ADAPTER.open(str(folder))) if site.pooled}
    assert pooled == {"proj", "pool.attn.q", "pool.attn.out", "pool.mlp.in", "pool.mlp.out"}


def test_a_configuration_that_leaves_out_the_depth_means_twelve_layers(tmp_path: Path) -> None:
    copy = tiny_siglip(tmp_path / "model", layers=12)
    config = json.loads((copy / "config.json").read_text())
    for tower in ("text_config", "vision_config"):  # as google/siglip-base-patch16-224 writes it
        assert config[tower].pop("num_hidden_layers") == 12
    (copy / "config.json").write_text(json.dumps(config))
    found = ADAPTER.sites(ADAPTER.open(str(copy)))
    assert {(site.tower, site.layer) for site in found} == {(t, k) for t in ("text", "vision") for k in range(12)}


def test_a_pooled_site_is_refused_where_a_spread_over_tokens_is_needed(folder: Path, tmp_path: Path) -> None:
    flags = ("edit", "--model", folder, "--data", table(tmp_path), "--workers", 0, "-o", tmp_path / "patch")
    for target in ("vision:pool.attn.out", "text:proj"):
        assert "one token" in as_error(run(*flags, "--target", target))
    assert not (tmp_path / "patch").exists()


def test_a_pooled_site_is_edited_by_a_scorer_that_needs_none(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    flags = ("edit", "--model", folder, "--data", table(tmp_path), "--workers", 0, "--scorer", "snip", "--tau", 0.2)
    done(*flags, "--target", "vision:pool.*", "-o", tmp_path / "patch", "--save", saved)
    before, after = load_file(folder / "model.safetensors"), load_file(saved / "model.safetensors")
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    out, mlp = (f"vision_model.head.{name}.weight" for name in ("attention.out_proj", "mlp.fc{}"))
    assert moved == {HEAD_FUSED, out, mlp.format(1), mlp.format(2)}


def test_an_edit_of_the_heads_values_leaves_the_rows_of_queries_and_keys(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    flags = ("edit", "--model", folder, "--data", table(tmp_path), "--workers", 0, "--target", "vision:pool.attn.v")
    done(*flags, "-o", tmp_path / "patch", "--save", saved)
    before, after = (load_file(place / "model.safetensors")[HEAD_FUSED] for place in (folder, saved))
    width = before.shape[1]
    assert torch.equal(before[: 2 * width], after[: 2 * width])
    assert not torch.equal(before[2 * width :], after[2 * width :])


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("mask", ["none", "additive", "boolean"])
def test_attention_weights_that_the_head_asks_for_are_the_librarys(mask: str, averaged: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(24, 2, batch_first=True).eval()
    probe, patches = torch.randn(3, 1, 24), torch.randn(3, 9, 24)
    barred = torch.rand(3 * 2, 1, 9) > 0.6
    masks = {"none": None, "boolean": barred, "additive": torch.zeros(6, 1, 9).masked_fill(barred, -1e9)}
    flags: dict[str, Any] = {"attn_mask": masks[mask], "average_attn_weights": averaged}
    expected = attention(probe, patches, patches, **flags)
    attention.__class__ = VisibleAttention
    for found, one in zip(attention(probe, patches, patches, **flags), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-5, atol=1e-6)


# Captions


def test_captions_are_cleaned_by_the_tokenizer_and_end_without_padding(model: LoadedSiglip) -> None:
    ids = model.tokenize(TEXTS)
    assert ids == model.tokenize(["a robot with a knife", "", TEXTS[2].upper()])
    assert ids[1] == [1]
    assert all(row.index(1) == len(row) - 1 for row in ids)


def test_a_long_caption_is_cut_to_the_context_with_its_end_kept(model: LoadedSiglip) -> None:
    (row,) = model.tokenize(["a robot with a knife " * 40])
    assert len(row) == CONTEXT and row[-1] == 1


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1]])
def test_inputs_fill_the_context_as_the_librarys_do(folder: Path, model: LoadedSiglip, texts: list[str]) -> None:
    from transformers import AutoProcessor

    expected = plain_inputs(AutoProcessor.from_pretrained(folder), texts, noise()[:1])
    inputs, _ = model.text_inputs(model.tokenize(texts), "real")
    assert set(inputs) == {"input_ids"}
    assert torch.equal(inputs["input_ids"], expected["input_ids"])


def test_tokens_that_count(model: LoadedSiglip) -> None:
    ids = [[7, 8, 9, 1], [1], [5] * (CONTEXT - 1) + [1]]
    masks = {tokens: model.text_inputs(ids, tokens)[1].int().tolist() for tokens in ("real", "released", "all")}
    last = CONTEXT - 1
    assert masks["real"] == [[1] * 4 + [0] * (last - 4) + [1], [1] + [0] * (last - 1) + [1], [1] * CONTEXT]
    assert masks["released"] == [[1] * 3 + [0] * (CONTEXT - 3), [0] * CONTEXT, [1] * last + [0]]
    assert masks["all"] == [[1] * CONTEXT] * 3


# Probabilities


@pytest.mark.parametrize("towers", [("text", "vision"), ("text",)])
def test_scores_are_the_librarys_probabilities(folder: Path, towers: Any) -> None:
    from transformers import AutoModel, AutoProcessor

    library, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        output = library(**plain_inputs(processor, TEXTS, noise()))
    model = ADAPTER.load(ADAPTER.open(str(folder)), device="cpu", dtype="float32", towers=towers)
    found = model.scores(output.image_embeds @ output.text_embeds.T)
    torch.testing.assert_close(found, output.logits_per_image.sigmoid())
    assert 1e-4 < float(found.min()) < float(found.max()) < 1 - 1e-4  # random weights differ by release


# What is missing


def test_a_checkpoint_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(copy / "model.safetensors")
    del tensors["vision_model.head.probe"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    message = as_error(run("edit", "--model", copy, "--data", table(tmp_path), "--workers", 0))
    assert "lacks 1 of its model's tensors" in message and "vision_model.head.probe" in message


def test_a_site_that_the_configuration_promises_must_be_there(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(copy / "model.safetensors")
    del tensors[HEAD_FUSED]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=HEAD_FUSED):
        ADAPTER.sites(ADAPTER.open(str(copy)))


def test_a_folder_without_a_tokenizer_is_refused_where_captions_are_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "spiece.model").unlink()
    flags = ("edit", "--model", copy, "--data", table(tmp_path), "--workers", 0)
    assert "has no tokenizer: none of spiece.model, tokenizer.json" in as_error(run(*flags))
    done(*flags, "--target", "vision:mlp.out", "-o", tmp_path / "patch")


def test_a_folder_without_image_settings_is_refused_where_images_are_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "preprocessor_config.json").unlink()
    assert "cannot be loaded" in as_error(run("edit", "--model", copy, "--data", table(tmp_path), "--workers", 0))


def test_another_tokenizer_gives_another_cache_key(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    before = ADAPTER.open(str(copy)).settings
    (copy / "spiece.model").write_bytes((copy / "spiece.model").read_bytes() + b" ")
    assert ADAPTER.open(str(copy)).settings != before


# From a folder to an evaluated edit


@dataclass(frozen=True)
class Edit:
    """The default edit of `folder` on the demo's tuples, and the report of its evaluation."""

    patch: Path
    saved: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def edited(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Edit:
    root = tmp_path_factory.mktemp("edited")
    flags = ("--data", table(root, PAIRS), "--workers", 0)
    with cache_at(root / "cache"):
        done("edit", "--model", folder, *flags, "--tau", 0.1, "-o", root / "patch", "--save", root / "saved")
        none = ("--knowledge", "none", "--json")
        report = done("eval", "safeground", "--model", folder, "--patch", root / "patch", *flags, *none).json
    return Edit(root / "patch", root / "saved", report)


def test_the_default_edit_touches_the_papers_roles_in_both_towers(folder: Path, edited: Edit) -> None:
    before, after = (load_file(place / "model.safetensors") for place in (folder, edited.saved))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    text = {f"text_model.encoder.layers.{layer}.self_attn.out_proj.weight" for layer in range(2)}
    assert moved == text | {f"vision_model.encoder.layers.{layer}.mlp.fc2.weight" for layer in range(2)}
    assert all(torch.equal(before[key].abs(), after[key].abs()) for key in moved)


def test_safeground_of_base_and_patch_equals_the_libraries_on_both_folders(folder: Path, edited: Edit) -> None:
    chosen = elements("calibration")[:PAIRS]
    texts = [one[side] for side in ("safe", "nsfw") for one in chosen]
    images = [Image.open(images_of(one, "calibration")[side]).convert("RGB") for side in (0, 1) for one in chosen]
    for place, row in zip((folder, edited.saved), edited.report["models"], strict=True):
        embed = plain_siglip(str(place))
        v, t = (embed(tower, items).double().numpy() for tower, items in (("vision", images), ("text", texts)))
        assert np.linalg.norm(v, axis=1) == pytest.approx(1, abs=1e-5)
        expected = naive_safeground(Four(v[:PAIRS], v[PAIRS:], t[:PAIRS], t[PAIRS:]))
        found = {metric: row["metrics"][metric]["value"] for metric in SAFEGROUND}
        assert found == pytest.approx(expected)


def test_the_family_is_found_by_its_model_type_and_open_clips_by_its_name(folder: Path) -> None:
    assert find_adapter(str(folder), default_host()).name == "siglip"
    assert find_adapter("open_clip:ViT-SO400M-14-SigLIP-384/webli", default_host()).name == "open_clip-siglip"
