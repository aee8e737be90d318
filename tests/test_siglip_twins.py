"""The same SigLIP through transformers and through open_clip: the same embeddings, scores and selected weights.

CLIP's twins are in test_open_clip.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from models import elements
from naive import relative
from open_clip_models import HALF, siglip_settings, write_folder
from safetensors.torch import load_file
from siglip_models import tiny_siglip
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import Model
from editkit.components.site import Site, Tower, match_targets
from editkit.components.specs import ScorerSpec
from editkit.editing.input_scores import score_pairs
from editkit.models.batches import Batch, text_batches
from editkit.models.find import find_adapter
from editkit.models.site_tensors import weight_of
from editkit.testing import select

PAIRS = 12
LAYERS = 2


def ported(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' SigLIP tensors under open_clip's names: q, k and v in one tensor, of the pooling head k and v."""
    image, text = "vision_model", "text_model"
    head, pool = f"{image}.head", "visual.trunk.attn_pool"
    query, *keys_and_values = tensors[f"{head}.attention.in_proj_weight"].chunk(3)
    query_bias, *other_biases = tensors[f"{head}.attention.in_proj_bias"].chunk(3)
    result = {
        "logit_scale": tensors["logit_scale"],
        "logit_bias": tensors["logit_bias"],
        "visual.trunk.pos_embed": tensors[f"{image}.embeddings.position_embedding.weight"][None],
        "text.token_embedding.weight": tensors[f"{text}.embeddings.token_embedding.weight"],
        "text.positional_embedding": tensors[f"{text}.embeddings.position_embedding.weight"],
        f"{pool}.latent": tensors[f"{head}.probe"],
        f"{pool}.q.weight": query,
        f"{pool}.q.bias": query_bias,
        f"{pool}.kv.weight": torch.cat(keys_and_values),
        f"{pool}.kv.bias": torch.cat(other_biases),
    }
    same = {
        "visual.trunk.patch_embed.proj": f"{image}.embeddings.patch_embedding",
        "visual.trunk.norm": f"{image}.post_layernorm",
        "text.ln_final": f"{text}.final_layer_norm",
        "text.text_projection": f"{text}.head",
        f"{pool}.proj": f"{head}.attention.out_proj",
        f"{pool}.norm": f"{head}.layernorm",
        f"{pool}.mlp.fc1": f"{head}.mlp.fc1",
        f"{pool}.mlp.fc2": f"{head}.mlp.fc2",
    }
    fused = {}
    for layer in range(LAYERS):
        ours, theirs = f"visual.trunk.blocks.{layer}", f"{image}.encoder.layers.{layer}"
        fused[f"{ours}.attn.qkv."] = theirs
        same |= {f"{ours}.attn.proj": f"{theirs}.self_attn.out_proj"}
        same |= {f"{ours}.norm{n}": f"{theirs}.layer_norm{n}" for n in (1, 2)}
        same |= {f"{ours}.mlp.fc{n}": f"{theirs}.mlp.fc{n}" for n in (1, 2)}
        ours, theirs = f"text.transformer.resblocks.{layer}", f"{text}.encoder.layers.{layer}"
        fused[f"{ours}.attn.in_proj_"] = theirs
        same |= {f"{ours}.attn.out_proj": f"{theirs}.self_attn.out_proj"}
        same |= {f"{ours}.ln_{n}": f"{theirs}.layer_norm{n}" for n in (1, 2)}
        same |= {f"{ours}.mlp.c_fc": f"{theirs}.mlp.fc1", f"{ours}.mlp.c_proj": f"{theirs}.mlp.fc2"}
    for part in ("weight", "bias"):
        result |= {f"{new}.{part}": tensors[f"{old}.{part}"] for new, old in same.items()}
        for new, old in fused.items():
            result[f"{new}{part}"] = torch.cat([tensors[f"{old}.self_attn.{x}_proj.{part}"] for x in "qkv"])
    return {name: tensor.contiguous().clone() for name, tensor in result.items()}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[Model, list[Site]], ...]]:
    """One model in both formats, each through its adapter: transformers' first."""
    root = tmp_path_factory.mktemp("twins")
    theirs = tiny_siglip(root / "transformers", layers=LAYERS)
    config = json.loads((theirs / "config.json").read_text())
    for tower in ("text_config", "vision_config"):  # published ones approximate it there, and do not in open_clip
        config[tower]["hidden_act"] = "gelu"
    (theirs / "config.json").write_text(json.dumps(config))

    def tokenizer(folder: Path) -> None:
        for name in ("spiece.model", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
            if (theirs / name).is_file():
                shutil.copyfile(theirs / name, folder / name)

    ours = write_folder(
        root / "open_clip",
        siglip_settings(),
        tokenizer=tokenizer,
        preprocess=HALF,
        tensors=ported(load_file(theirs / "model.safetensors")),
    )
    yield opened(theirs, "siglip"), opened(ours, "open_clip-siglip")


def opened(folder: Path, name: str) -> tuple[Model, list[Site]]:
    spec = find_adapter(str(folder), default_host())
    assert spec.name == name
    adapter = spec.load()()
    files = adapter.open(str(folder))
    return adapter.load(files, device="cpu", dtype="float32", towers=("text", "vision")), adapter.sites(files)


def pixels() -> dict[str, Tensor]:
    """[2 * PAIRS, 3, 48, 48]: safe images, then unsafe ones."""
    return {"pixel_values": torch.randn(2 * PAIRS, 3, 48, 48, generator=torch.Generator().manual_seed(0))}


def captions() -> list[tuple[str, str]]:
    return [(element["safe"], element["nsfw"]) for element in elements("calibration")[:PAIRS]]


def scores_of(model: Model, sites: list[Site], tower: Tower) -> dict[str, Tensor]:
    """UWM's scores of every site that sees more than one token, by name, over real tokens."""
    spec = default_host().resolve(ScorerSpec, "uwm")
    chosen = [site for site in match_targets([f"{tower}:*"], sites) if not site.pooled]
    if tower == "text":
        batches = list(text_batches(model, captions(), batch_size=5, tokens="real"))
    else:
        batches = [Batch(tuple(range(PAIRS)), pixels(), None)]
    found = score_pairs(model, tower, chosen, {"uwm": spec.load()(spec.options())}, batches)["uwm"].scores
    return {site.name: scores for site, scores in found.items()}


def test_both_read_captions_as_the_same_tokens(twins: Any) -> None:
    (theirs, _), (ours, _) = twins
    texts = [text for pair in captions() for text in pair] + ["", "Shouting, with (brackets)!"]
    assert ours.tokenize(texts) == theirs.tokenize(texts)
    for tokens in ("real", "released", "all"):
        (ids, mask), (their_ids, their_mask) = (
            model.text_inputs(model.tokenize(texts), tokens) for model in (ours, theirs)
        )
        assert torch.equal(ids["input_ids"], their_ids["input_ids"]) and torch.equal(mask, their_mask)


def test_the_same_weights_give_the_same_embeddings_and_probabilities(twins: Any) -> None:
    embedded = []
    for model, _ in twins:
        texts = model.encode_texts(model.text_inputs(model.tokenize([text for text, _ in captions()]), "real")[0])
        embedded.append((model.encode_images(pixels()), texts))
    (their_images, their_texts), (our_images, our_texts) = embedded
    assert relative(our_images, their_images) <= 1e-5
    assert relative(our_texts, their_texts) <= 1e-5
    probabilities = [
        model.scores(images @ texts.T) for (model, _), (images, texts) in zip(twins, embedded, strict=True)
    ]
    assert relative(probabilities[1], probabilities[0]) <= 1e-5


def test_sites_are_the_same_maps_under_the_same_names(twins: Any) -> None:
    (theirs, their_sites), (ours, our_sites) = twins
    by_name = {site.name: site for site in their_sites}
    assert [site.name for site in our_sites if site.name not in by_name] == []
    assert len(our_sites) == len(their_sites) == 2 * LAYERS * 6 + 7
    for site in our_sites:
        other = by_name[site.name]
        assert (site.shape, site.pooled) == (other.shape, other.pooled), site.name
        assert torch.equal(weight_of(ours.parameter(site.key), site), weight_of(theirs.parameter(other.key), other))


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_both_formats_select_the_same_weights(twins: Any, tower: Tower) -> None:
    theirs, ours = (scores_of(model, sites, tower) for model, sites in twins)
    assert ours.keys() == theirs.keys()
    assert len(ours) == LAYERS * 6 + (2 if tower == "vision" else 0)  # the pooling head's keys and values
    for name, scores in ours.items():
        assert relative(scores, theirs[name]) <= 1e-5, name
        chosen = select("adaptive", scores)
        assert torch.equal(chosen, select("adaptive", theirs[name])), name
        assert 0 < int(chosen.sum()) < chosen.numel() / 2
