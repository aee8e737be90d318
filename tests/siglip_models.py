"""Tiny random SigLIP models on disk, in the settings of published ones, with tokenizers trained on demo captions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from models import elements
from torch import Tensor

CONTEXT = 64
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = SMALL | {"hidden_size": 24, "intermediate_size": 40, "vocab_size": 400}
VISION = SMALL | {"hidden_size": 24, "intermediate_size": 40}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tiny_siglip(folder: Path, dtype: str = "float32", *, sharded: bool = False, layers: int = 2) -> Path:
    """Like google/siglip-so400m-patch14-384: the image is no multiple of the patch, tokens are SentencePiece's."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    depth = {"num_hidden_layers": layers}
    vision = VISION | depth | {"image_size": 48, "patch_size": 14}
    model = _perturbed(SiglipModel, SiglipConfig(text_config=TEXT | depth, vision_config=vision))
    _save(model, folder, dtype, sharded=sharded)
    SiglipImageProcessor(size={"height": 48, "width": 48}, resample=3, **HALF).save_pretrained(folder)
    sentencepiece_tokenizer(folder)
    return folder


def tiny_siglip2(folder: Path) -> Path:
    """Like google/siglip2-giant-opt-patch16-256: of one resolution, towers of two widths, Gemma's tokens."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    text, vision = TEXT | {"projection_size": 32}, VISION | {"hidden_size": 32, "image_size": 32, "patch_size": 16}
    _save(_perturbed(SiglipModel, SiglipConfig(text_config=text, vision_config=vision)), folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}, resample=2, **HALF).save_pretrained(folder)
    gemma_tokenizer(folder)
    return folder


def tiny_naflex(folder: Path) -> Path:
    """Like google/siglip2-base-patch16-naflex: up to 256 patches, as many as the image's shape wants."""
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    text, vision = TEXT | {"projection_size": 24}, VISION | {"num_patches": 256, "patch_size": 16}
    _save(_perturbed(Siglip2Model, Siglip2Config(text_config=text, vision_config=vision)), folder)
    Siglip2ImageProcessor(max_num_patches=256, patch_size=16, **HALF).save_pretrained(folder)
    gemma_tokenizer(folder)
    return folder


def tiny_siglip_tower(folder: Path, tower: str, *, published: bool = True, head: bool = True) -> Path:
    """One tower alone, as FLUX Redux has SigLIP's vision tower; transformers 5 leaves out what names begin with."""
    import transformers
    from safetensors.torch import load_file, save_file

    name = tower.title()
    settings = TEXT if tower == "text" else VISION | {"image_size": 32, "patch_size": 16, "vision_use_head": head}
    config = getattr(transformers, f"Siglip{name}Config")(**settings)
    _save(_perturbed(getattr(transformers, f"Siglip{name}Model"), config), folder)
    if published:
        tensors = {f"{tower}_model.{key}": held for key, held in load_file(folder / "model.safetensors").items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if tower == "text":
        sentencepiece_tokenizer(folder)
    else:
        transformers.SiglipImageProcessor(size={"height": 32, "width": 32}, **HALF).save_pretrained(folder)
    return folder


def plain_siglip_tower(source: str) -> Callable[..., Tensor]:
    """The tower's own class of transformers alone."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, SiglipTextModel

    is_text = json.loads((Path(source) / "config.json").read_text())["model_type"] == "siglip_text_model"
    model = (SiglipTextModel if is_text else AutoModel).from_pretrained(source).eval()

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        if tower == "text":
            padded = {"padding": "max_length", "max_length": CONTEXT, "truncation": True}
            inputs = AutoTokenizer.from_pretrained(source)(list(items), return_tensors="pt", **padded)
            inputs = {"input_ids": inputs["input_ids"]}
        else:
            inputs = AutoImageProcessor.from_pretrained(source)(images=list(items), return_tensors="pt")
        with torch.no_grad():
            found: Tensor = model(**inputs).pooler_output
        return found

    return embed


def plain_siglip(source: str) -> Callable[..., Tensor]:
    """The library alone, as its documentation uses it: the processor's own output into the whole model."""
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(source).eval(), AutoProcessor.from_pretrained(source)

    def embed(tower: str, items: Sequence[Any]) -> Tensor:
        texts, images = (items, [Image.new("RGB", (64, 64))]) if tower == "text" else (["a dog"], items)
        with torch.no_grad():
            output = model(**plain_inputs(processor, texts, images))
        found: Tensor = output.text_embeds if tower == "text" else output.image_embeds
        return found

    return embed


def plain_inputs(processor: Any, texts: Sequence[str], images: Sequence[Any]) -> Any:
    """What a SigLIP processor makes of captions and images, padded as the models were trained."""
    return processor(
        text=list(texts),
        images=list(images),
        padding="max_length",
        max_length=CONTEXT,
        truncation=True,
        return_tensors="pt",
    )


def sentencepiece_tokenizer(folder: Path) -> None:
    """Write a `SiglipTokenizer` as google/siglip-* have it: `spiece.model`, pad = end of text = 1, no mask."""
    from transformers import SiglipTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(_pieces())
    SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"]).save_pretrained(folder)


def gemma_tokenizer(folder: Path) -> None:
    """Write a `GemmaTokenizer` as google/siglip2-* have it: pad 0, end of text 1 and no begin, no mask."""
    from transformers import GemmaTokenizer

    vocabulary, merges = _byte_pairs()
    tokenizer = GemmaTokenizer(
        vocab=dict(vocabulary),
        merges=list(merges),
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
    )
    tokenizer.save_pretrained(folder)


def _perturbed(kind: Any, config: Any) -> Any:
    """A random model with no parameter at 0 or 1, as trained ones have none."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        if not hasattr(model, "logit_scale"):
            return model
        model.logit_scale.fill_(2.3)  # published ones are about 4.7 and -16: here probabilities are far from 0
        model.logit_bias.fill_(-1.7)
    return model


def _save(model: Any, folder: Path, dtype: str = "float32", *, sharded: bool = False) -> None:
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="60KB" if sharded else "1GB")
    assert (folder / "model.safetensors.index.json").exists() == sharded


def _captions() -> list[str]:
    return [element[side] for element in elements("calibration") for side in ("safe", "nsfw")]


@cache
def _pieces() -> bytes:
    from sentencepiece import SentencePieceTrainer

    written = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_captions()),
        model_writer=written,
        vocab_size=150,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


@cache
def _byte_pairs() -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, str], ...]]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        _captions(), trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    model = json.loads(tokenizer.to_str())["model"]
    return tuple(model["vocab"].items()), tuple((left, right) for left, right in model["merges"])
