"""open_clip models with a vision tower of timm's, a text tower without causal attention, or another tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from command_line import done
from models import table
from open_clip_models import (
    add_architecture,
    bert_tokenizer,
    mt5_tokenizer,
    own_vision,
    plain_open_clip,
    random_tensors,
    settings_like,
    t5_tokenizer,
    write_folder,
)
from safetensors.torch import load_file, save_file

from editkit.components.load import default_host
from editkit.components.site import Site
from editkit.errors import ModelError
from editkit.models.find import find_adapter
from editkit.testing import check_adapter
from editkit_clip.open_clip_format import OpenClip
from editkit_clip.open_clip_model import LoadedOpenClip

TEXTS = ["a dog", "Two people share a meal, late at night!"]


def mobile_clip(**text: Any) -> dict[str, Any]:
    """A small MobileCLIP2-L-14: timm's tower with its own head as projection; no causal mask, read at the end."""
    vision = {"timm_model_name": "vit_editkit_clip", "image_size": 32}
    return settings_like("MobileCLIP2-L-14", vision=vision, text=text, embed_dim=24)


def gap() -> dict[str, Any]:
    """A small vit_medium_patch16_gap_256: timm's tower with open_clip's projection."""
    vision = {"timm_model_name": "vit_editkit_gap", "image_size": 32}
    return settings_like("vit_medium_patch16_gap_256", vision=vision, text={}, embed_dim=24)


def clipa() -> dict[str, Any]:
    """A small ViT-L-14-CLIPA: BERT's tokens without [SEP], no causal mask, read at the last position."""
    return settings_like("ViT-L-14-CLIPA", vision=own_vision(), text={"vocab_size": 200}, embed_dim=24)


def worldwide() -> dict[str, Any]:
    """A small ViT-L-14-worldwide: mT5's tokens under a causal mask, read at the first end of text."""
    return settings_like("ViT-L-14-worldwide", vision=own_vision(), text={"vocab_size": 200}, embed_dim=24)


def last_and_biased() -> dict[str, Any]:
    """T5's tokens under a causal mask, read at the last position, with a bias behind the projection."""
    text = {"vocab_size": 200, "pool_type": "last", "proj_bias": True, "hf_tokenizer_name": "any", "context_length": 20}
    return settings_like("ViT-B-32", vision=own_vision(), text=text, embed_dim=24)


FAMILIES: dict[Callable[..., dict[str, Any]], Callable[[Path], None] | None] = {
    mobile_clip: None,
    gap: None,
    clipa: bert_tokenizer,
    worldwide: mt5_tokenizer,
    last_and_biased: t5_tokenizer,
}
family = pytest.mark.parametrize("family", FAMILIES, ids=lambda made: made.__name__)


def folder_of(folder: Path, made: Callable[..., dict[str, Any]]) -> Path:
    return write_folder(folder / "model", made(), tokenizer=FAMILIES[made])


def opened(source: str | Path, *, towers: tuple[Any, ...] = ("text", "vision")) -> tuple[LoadedOpenClip, list[Site]]:
    adapter = OpenClip()
    files = adapter.open(str(source))
    return adapter.load(files, device="cpu", dtype="float32", towers=towers), adapter.sites(files)


@family
def test_every_such_model_keeps_the_contract(family: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    check_adapter("open_clip", folder_of(tmp_path, family), library=plain_open_clip)


def test_a_lone_checkpoint_takes_the_tokenizer_that_its_architecture_names(tmp_path: Path) -> None:
    settings = worldwide()
    mt5_tokenizer(tmp_path / "tokenizer")  # where the published architecture has a hub id
    settings["text_cfg"]["hf_tokenizer_name"] = str(tmp_path / "tokenizer")
    name = add_architecture(tmp_path, "editkit-worldwide", settings)
    save_file(random_tensors(settings), tmp_path / "weights.safetensors")
    check_adapter("open_clip", f"open_clip:{name}@{tmp_path / 'weights.safetensors'}", library=plain_open_clip)


# sites


def names(sites: list[Site], role: str) -> list[tuple[str, bool]]:
    return [(site.key, site.pooled) for site in sites if site.role == role]


def test_the_projection_of_timms_tower_is_where_open_clip_has_put_it(tmp_path: Path) -> None:
    _, own_head = opened(folder_of(tmp_path / "a", mobile_clip))
    _, linear = opened(folder_of(tmp_path / "b", gap))
    assert names(own_head, "proj") == [("text.text_projection", True), ("visual.trunk.head.weight", True)]
    assert names(linear, "proj") == [("text_projection", True), ("visual.head.proj.weight", True)]
    for sites in (own_head, linear):
        (key,) = (site for site in sites if site.name == "vision:attn.k[1]")
        assert (key.key, key.rows, key.module) == (
            "visual.trunk.blocks.1.attn.qkv.weight",
            (32, 64),
            "visual.trunk.blocks.1.attn.qkv",
        )


def test_a_projection_with_a_bias_is_a_linear_map_of_its_own(tmp_path: Path) -> None:
    _, sites = opened(folder_of(tmp_path, last_and_biased))
    (site,) = (site for site in sites if site.name == "text:proj")
    assert (site.module, site.bias, site.transposed) == ("text_projection", "text_projection.bias", False)


# captions


@family
def test_captions_are_cut_only_where_padding_is_never_seen(
    family: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    model, _ = opened(folder_of(tmp_path, family))
    ids = model.tokenize(TEXTS)
    context = family()["text_cfg"].get("context_length", 77)
    inputs, mask = model.text_inputs(ids, "real")
    cut = family in (gap, worldwide)
    assert inputs["input_ids"].shape == mask.shape == (2, max(map(len, ids)) if cut else context)
    everything, all_of_them = model.text_inputs(ids, "all")
    assert everything["input_ids"].shape == (2, context) and bool(all_of_them.all())
    library = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")(TEXTS)
    assert torch.equal(everything["input_ids"], library)


@family
def test_the_real_tokens_are_the_captions_and_where_the_embedding_is_read(
    family: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    model, _ = opened(folder_of(tmp_path, family))
    ids = model.tokenize(TEXTS)
    _, mask = model.text_inputs(ids, "real")
    last = [mask.shape[1] - 1] if family in (clipa, last_and_biased) else []
    for row, own in zip(mask, ids, strict=True):
        assert row.nonzero().flatten().tolist() == sorted({*range(len(own)), *last})


def test_a_caption_longer_than_the_context_ends_in_the_end_of_text(tmp_path: Path) -> None:
    for made, end in ((clipa, 0), (worldwide, 1), (mobile_clip, 49407)):
        model, _ = opened(folder_of(tmp_path / made.__name__, made))
        (ids,) = model.tokenize(["the dog runs on and on " * 40])
        assert (len(ids), ids[-1]) == (made()["text_cfg"].get("context_length", 77), end)


def test_padding_before_the_caption_moves_its_positions_so_that_all_of_it_runs(tmp_path: Path) -> None:
    def left(folder: Path) -> None:
        mt5_tokenizer(folder, padding_side="left")

    source = write_folder(tmp_path / "model", worldwide(), tokenizer=left)
    check_adapter("open_clip", source, library=plain_open_clip)
    model, _ = opened(source)
    ids = model.tokenize(TEXTS)
    inputs, mask = model.text_inputs(ids, "real")
    assert torch.equal(inputs["input_ids"], open_clip.get_tokenizer(f"local-dir:{source}")(TEXTS))
    context = mask.shape[1]
    assert [row.nonzero().flatten().tolist() for row in mask] == [[*range(context - len(own), context)] for own in ids]


def test_no_caption_gives_no_ids(tmp_path: Path) -> None:
    model, _ = opened(folder_of(tmp_path, clipa))
    assert model.tokenize([]) == []


# files


def test_an_edited_lone_checkpoint_is_a_folder_with_its_tokenizer(tmp_path: Path) -> None:
    settings = worldwide()
    mt5_tokenizer(tmp_path / "tokenizer")
    settings["text_cfg"]["hf_tokenizer_name"] = str(tmp_path / "tokenizer")
    name = add_architecture(tmp_path, "editkit-worldwide-edited", settings)
    weights = tmp_path / "weights.safetensors"
    save_file(random_tensors(settings), weights)
    edited = tmp_path / "edited"
    data = f"pairs:{table(tmp_path / 'data', 6)}"
    source = f"open_clip:{name}@{weights}"
    done("edit", "--model", source, "--data", data, "-o", tmp_path / "p", "--save", edited, "--workers", 0)
    assert find_adapter(str(edited), default_host()).name == "open_clip"
    embed = plain_open_clip(str(edited))
    model, _ = opened(edited)
    found = model.encode_texts(model.text_inputs(model.tokenize(TEXTS), "real")[0])
    theirs = torch.nn.functional.normalize(embed("text", TEXTS), dim=-1)
    assert torch.allclose(found, theirs, atol=1e-6)
    before, after = load_file(weights), load_file(edited / "weights.safetensors")
    changed = {key.split(".resblocks.")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"transformer", "visual.transformer"}


def test_the_vision_tower_needs_no_tokenizer(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "model", clipa())
    model, _ = opened(source, towers=("vision",))
    assert "tokenizer" not in model.processing()
    with pytest.raises(ModelError, match="has no tokenizer") as caught:
        opened(source)
    assert "bert-base-uncased" in caught.value.remedy


def test_the_scale_and_bias_of_logits_may_be_numbers_or_lists_of_one(tmp_path: Path) -> None:
    tensors = {name: tensor.reshape(1) if name == "logit_scale" else tensor for name, tensor in _gap_tensors().items()}
    model, _ = opened(write_folder(tmp_path / "model", gap(), tensors=tensors))
    cosines = torch.tensor([[0.5, -0.25]])
    assert torch.allclose(model.scores(cosines), cosines * 2.718281828**2.3)


def _gap_tensors() -> dict[str, torch.Tensor]:
    return random_tensors(gap())


def test_a_lone_checkpoint_of_a_published_architecture_is_given_images_as_its_published_weights_are(
    tmp_path: Path,
) -> None:
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "w.safetensors")
    prepared = {}
    for name in ("ViT-B-16-SigLIP", "ViT-g-14"):
        files = OpenClip().open(f"open_clip:{name}@{tmp_path / 'w.safetensors'}")
        settings = files.config["preprocess_cfg"]
        prepared[name] = (tuple(settings["mean"]), settings["resize_mode"], files.notes)
    assert prepared["ViT-B-16-SigLIP"] == (
        (0.5, 0.5, 0.5),
        "squash",
        ("images are prepared as for the published weights of ViT-B-16-SigLIP",),
    )
    assert prepared["ViT-g-14"] == ((0.48145466, 0.4578275, 0.40821073), "shortest", ())


# towers of other kinds


def refused(source: str | Path, *expected: str) -> None:
    adapter = OpenClip()
    with pytest.raises(ModelError) as caught:
        adapter.sites(adapter.open(str(source)))
    assert all(part in caught.value.problem for part in expected), caught.value.problem
    assert str(caught.value).count("\n") == 1 and caught.value.remedy


def test_a_resnet_is_refused(tmp_path: Path) -> None:
    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    settings = settings_like("RN50", vision=vision, text={}, embed_dim=24)
    refused(write_folder(tmp_path / "model", settings), "The vision tower of", "is a ResNet")


def test_a_text_tower_of_hugging_faces_is_refused(tmp_path: Path) -> None:
    settings = {**gap(), "text_cfg": {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}}
    source = write_folder(tmp_path / "model", settings, tensors=_gap_tensors())
    refused(source, "The text tower of", "is roberta-base of Hugging Face's transformers")


def test_timms_other_towers_are_refused(tmp_path: Path) -> None:
    settings = settings_like("convnext_base", vision={"timm_model_name": "convnext_atto"}, text={}, embed_dim=24)
    refused(write_folder(tmp_path / "model", settings), "is timm's 'convnext_atto', a ConvNeXt")


def test_a_checkpoint_without_a_tower_is_refused(tmp_path: Path) -> None:
    settings = settings_like("ViT-B-32", vision=own_vision(), text={}, embed_dim=24)
    tensors = random_tensors(settings)
    only_text = {key: tensor for key, tensor in tensors.items() if not key.startswith("visual.")}
    refused(write_folder(tmp_path / "a", settings, tensors=only_text), "The vision tower of", "not in the checkpoint")
    other = only_text | {"visual.stem.weight": torch.zeros(2, 2)}
    refused(write_folder(tmp_path / "b", settings, tensors=other), "it begins with visual.stem.weight")


def test_a_mode_of_tokenizing_that_adds_tokens_behind_the_padding_is_refused(tmp_path: Path) -> None:
    settings = clipa()
    settings["text_cfg"]["tokenizer_mode"] = "clips"
    with pytest.raises(ModelError, match="tokenizes in a mode that editkit does not know, 'clips'"):
        opened(write_folder(tmp_path / "model", settings, tokenizer=bert_tokenizer))
