"""open_clip models whose text tower is one of Hugging Face's: RoBERTa, XLM-RoBERTa, mT5, NLLB."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from command_line import done
from hugging_face_towers import settings_with
from models import table
from open_clip_models import add_architecture, plain_open_clip, random_tensors, write_folder
from safetensors.torch import load_file, save_file

from editkit.components.load import default_host
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.testing import check_adapter
from editkit_clip.open_clip_format import OpenClip

ADAPTERS = {
    "roberta-ViT-B-32": "open_clip",
    "xlm-roberta-base-ViT-B-32": "open_clip",
    "mt5-base-ViT-B-32": "open_clip",
    "nllb-clip-base": "open_clip",
    "nllb-clip-base-siglip": "open_clip-siglip",
}


def folder_of(folder: Path, published: str) -> Path:
    settings = settings_with(published, folder / "text")
    place = write_folder(folder / "model", settings)
    for file in (folder / "text").glob("*token*"):
        (place / file.name).write_bytes(file.read_bytes())
    return place


@pytest.mark.parametrize("published", ADAPTERS)
def test_such_a_model_keeps_the_contract(published: str, tmp_path: Path) -> None:
    check_adapter(ADAPTERS[published], folder_of(tmp_path, published), library=plain_open_clip)


@pytest.mark.parametrize("published", ADAPTERS)
def test_a_lone_checkpoint_leads_to_the_same_adapter(published: str) -> None:
    assert find_adapter(f"open_clip:{published}@weights.pt", default_host()).name == ADAPTERS[published]


@pytest.mark.parametrize(
    ("published", "roles", "projections"),
    [
        ("roberta-ViT-B-32", 6, ["text.proj.0.weight", "text.proj.2.weight"]),
        ("mt5-base-ViT-B-32", 7, ["text.proj.0.weight", "text.proj.2.weight"]),
        ("nllb-clip-base", 6, ["text.proj.weight"]),
    ],
)
def test_every_map_of_a_block_is_a_site_and_so_is_open_clips_projection(
    published: str, roles: int, projections: list[str], tmp_path: Path
) -> None:
    adapter = OpenClip()
    sites = [site for site in adapter.sites(adapter.open(str(folder_of(tmp_path, published)))) if site.tower == "text"]
    assert [site.key for site in sites if site.pooled] == projections
    assert sites[-1].name == "text:proj"
    blocks = [site for site in sites if not site.pooled]
    assert len(blocks) == 2 * roles and {site.layer for site in blocks} == {0, 1}
    assert {"attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"} <= {site.role for site in blocks}


def test_captions_are_no_longer_than_they_have_to_be_unless_every_position_counts(tmp_path: Path) -> None:
    source = folder_of(tmp_path, "xlm-roberta-base-ViT-B-32")
    adapter = OpenClip()
    model = adapter.load(adapter.open(str(source)), device="cpu", dtype="float32", towers=("text",))
    ids = model.tokenize(["a dog", "two dogs run"])
    inputs, mask = model.text_inputs(ids, "real")
    assert inputs["input_ids"].shape == (2, max(map(len, ids)))
    assert mask.sum(dim=1).tolist() == list(map(len, ids))
    everything, _ = model.text_inputs(ids, "all")
    library = open_clip.get_tokenizer(f"local-dir:{source}")(["a dog", "two dogs run"])
    assert torch.equal(everything["input_ids"], library)


def test_an_edited_lone_checkpoint_is_a_folder_for_open_clip(tmp_path: Path) -> None:
    settings = settings_with("roberta-ViT-B-32", tmp_path / "text")
    name = add_architecture(tmp_path, "editkit-roberta", settings)
    weights, edited = tmp_path / "weights.safetensors", tmp_path / "edited"
    save_file(random_tensors(settings), weights)
    data = f"pairs:{table(tmp_path / 'data', 6)}"
    source = f"open_clip:{name}@{weights}"
    done("edit", "--model", source, "--data", data, "-o", tmp_path / "p", "--save", edited, "--workers", 0)
    before, after = load_file(weights), load_file(edited / "weights.safetensors")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key for key in changed if key.startswith("text.")} == {
        f"text.transformer.encoder.layer.{layer}.attention.output.dense.weight" for layer in (0, 1)
    }
    library = open_clip.create_model(f"local-dir:{edited}").state_dict()
    assert all(torch.equal(library[key], after[key]) for key in after)


def test_a_tower_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    settings = settings_with("roberta-ViT-B-32", tmp_path / "text")
    tensors = random_tensors(settings)
    renamed = {key.replace("transformer.encoder.layer", "transformer.h"): held for key, held in tensors.items()}
    settings["text_cfg"]["hf_model_name"] = "openai-community/gpt2"
    adapter = OpenClip()
    with pytest.raises(
        ModelError, match="is openai-community/gpt2 of Hugging Face's transformers, whose maps"
    ) as caught:
        adapter.sites(adapter.open(str(write_folder(tmp_path / "model", settings, tensors=renamed))))
    assert str(caught.value).count("\n") == 1 and caught.value.remedy
