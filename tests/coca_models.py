"""Tiny random CoCa models on disk, and open_clip itself to embed and to caption with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip_models import library_model
from PIL import Image
from safetensors.torch import save_file

PUBLISHED = ("coca_ViT-L-14", "coca_ViT-B-32")
FUSED = "coca_ViT-fused"
"""Not published: tokens as wide as the pooling query, so that one tensor holds the maps of q, k and v."""
END = 49407


def tiny_settings(like: str) -> dict[str, Any]:
    """A published architecture's configuration, with less of everything."""
    settings: dict[str, Any] = open_clip.get_model_config(PUBLISHED[0] if like == FUSED else like)
    small = {"layers": 2, "width": 32, "heads": 2}
    width = {"coca_ViT-L-14": 48, "coca_ViT-B-32": 64}.get(like, 32)
    patch = {"patch_size": 14, "image_size": 56} if like == "coca_ViT-L-14" else {"patch_size": 32, "image_size": 96}
    vision = {"layers": 3, "width": width, "head_width": 16, "attn_pooler_queries": 12, **patch}
    return {
        **settings,
        "embed_dim": 32,
        "vision_cfg": settings["vision_cfg"] | vision,
        "text_cfg": settings["text_cfg"] | small,
        "multimodal_cfg": settings["multimodal_cfg"] | small,
    }


def tiny_coca(folder: Path, like: str = PUBLISHED[0], *, archive: bool = False, **vision: Any) -> str:
    """Register a small architecture with open_clip and write a random checkpoint of it: its `--model`.

    Args:
        like: the published architecture whose forms it has.
        archive: write a training checkpoint (.pt) in place of a safetensors file.
        vision: settings of the vision tower that differ.
    """
    folder.mkdir(parents=True)
    settings = tiny_settings(like)
    settings["vision_cfg"] |= vision
    # open_clip knows one architecture of a name: a variant must not take the place of the one that it differs from
    name = "-".join(["coca_tiny", like.removeprefix("coca_"), *(f"{key}-{value}" for key, value in vision.items())])
    (folder / f"{name}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        model.text_decoder.text_projection.normal_(std=0.3)  # the library leaves it as the memory happens to be
        model.text_decoder.text_projection[:, END] *= 4  # or else one word in 49408 ends a caption
        model.text.token_embedding.weight *= 10  # or else the last word, and the image, hardly decide the next
        for block in model.text_decoder.cross_attn:
            block.attn.out_proj.weight *= 4
    weights = folder / "weights" / ("epoch_3.pt" if archive else "epoch_3.safetensors")
    weights.parent.mkdir()
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    if archive:
        wrapped = {f"module.{key}": tensor for key, tensor in tensors.items()}
        torch.save({"epoch": 3, "name": name, "state_dict": wrapped}, weights)
    else:
        save_file(tensors, weights)
    return f"open_clip:{name}@{weights}"


def library_captions(source: str | Path, images: Sequence[Image.Image], length: int, **options: Any) -> list[str]:
    """Captions by open_clip's own `generate`, greedily unless `options` say otherwise.

    Beside transformers 5 it refuses to run, since one import fails, of a beam search that greedy decoding and sampling
    do not need. The others of that import are given to it here.
    """
    import transformers
    from open_clip import coca_model

    model, transform, tokenizer = library_model(source)
    names = ("LogitsProcessorList", "RepetitionPenaltyLogitsProcessor", "MinLengthLogitsProcessor")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*names, "MaxLengthCriteria", "StoppingCriteriaList"):
            patch.setattr(coca_model, name, getattr(transformers, name), raising=False)
        patch.setitem(coca_model.GENERATION_TYPES, "top_k", transformers.TopKLogitsWarper)
        patch.setitem(coca_model.GENERATION_TYPES, "top_p", transformers.TopPLogitsWarper)
        patch.setattr(coca_model, "_has_transformers", True)
        pixels = torch.stack([transform(image) for image in images])
        chosen = {"generation_type": "top_k", "top_k": 1, **options}
        rows = model.generate(pixels, seq_len=length, **chosen)
    texts = [tokenizer.decode(row.tolist()) for row in rows]
    return [text.split("<end_of_text>")[0].removeprefix("<start_of_text>").strip() for text in texts]
