"""Tiny random LLaVA models on disk, in shards and under the names that published checkpoints have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LANGUAGE_SHARD = "model-00001-of-00003.safetensors"
"""Holds tensors of the language model alone; the second shard some of all parts, the third the vision tower's rest."""
BLOCKS, LAYERS, PATCHES = 4, 2, 9
TEXT = """
a an the of on in at and with two people person dog cat bird horse car bus bicycle tree house street wall brick table
food meal night day man woman child red green blue black white old new big small sits stands runs leans holds rides eats
near under over against beside shares stop user assistant question answer please provide caption for image
"""
WORDS = tuple(TEXT.split())
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<image>")
CHAT = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def tiny_llava(
    folder: Path,
    dtype: str = "float32",
    *,
    family: str = "llava",
    vision: str = "clip_vision_model",
    seed: int = 0,
    **settings: Any,
) -> Path:
    """A random LLaVA of four vision blocks and a Llama of two layers; `settings` are of its config."""
    import torch

    torch.manual_seed(seed)
    model = _model(family, vision, settings)
    with torch.no_grad():  # the libraries start biases at 0 and scales at 1: trained ones are neither
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.to(getattr(torch, dtype))
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    _write_shards(folder, {_published(name): tensor for name, tensor in model.state_dict().items()})
    _write_processor(folder, family, vision)
    return folder


def clip_like_llavas(folder: Path, **vision: Any) -> Path:
    """A whole CLIP whose vision tower has the shapes of the LLaVA's; `vision` are settings of it that differ."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2}
    tower = sizes | {"image_size": 24, "patch_size": 8} | vision
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(5)
    clip = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 40}, vision_config=tower, projection_dim=12))
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    clip.save_pretrained(folder)
    return folder


def _model(family: str, vision: str, settings: dict[str, Any]) -> Any:
    from transformers import (
        AutoConfig,
        GenerationConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
    )

    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}
    size = {"image_size": 24, "patch_size": 8}
    language = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    length = {"vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 256}
    both: dict[str, Any] = {
        "vision_config": AutoConfig.for_model(vision, **tower, **size),
        "text_config": AutoConfig.for_model("llama", **language, **length),
        "image_token_index": SPECIAL.index("<image>"),
        "image_seq_length": PATCHES,
        **settings,
    }
    if family == "llava_next":
        grid = [[24, 48], [48, 24], [48, 48]]
        model: Any = LlavaNextForConditionalGeneration(LlavaNextConfig(**both, image_grid_pinpoints=grid))
    else:
        model = LlavaForConditionalGeneration(LlavaConfig(**both))
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=3)
    return model


def _published(name: str) -> str:
    """What checkpoints on the hub call a tensor of the live model."""
    name = name.removeprefix("model.")
    for live, published in (
        ("vision_tower.", "vision_tower.vision_model."),
        ("language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ):
        if name.startswith(live):
            return published + name.removeprefix(live)
    return name


def _write_shards(folder: Path, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    def shard(key: str) -> int:
        if key.startswith("language_model.model."):
            return 1
        if not key.startswith("vision_tower."):
            return 2
        return 2 if ".embeddings." in key or ".layers.0." in key else 3

    places = {key: f"model-{shard(key):05d}-of-00003.safetensors" for key in tensors}
    for name in sorted(set(places.values())):
        held = {key: tensor.contiguous() for key, tensor in tensors.items() if places[key] == name}
        save_file(held, folder / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_processor(folder: Path, family: str, vision: str) -> None:
    from transformers import CLIPImageProcessor, LlavaNextImageProcessor, LlavaNextProcessor, LlavaProcessor

    size: dict[str, Any] = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    has_cls = vision == "clip_vision_model"
    more: dict[str, Any] = {
        "patch_size": 8,
        "vision_feature_select_strategy": "default" if has_cls else "full",
        "num_additional_image_tokens": int(has_cls),
        "chat_template": CHAT,
    }
    if family == "llava_next":
        images: Any = LlavaNextImageProcessor(**size, image_grid_pinpoints=[[24, 48], [48, 24], [48, 48]])
        processor: Any = LlavaNextProcessor(images, _tokenizer(), **more)
    else:
        images = CLIPImageProcessor(**size)
        processor = LlavaProcessor(images, _tokenizer(), **more)
    processor.save_pretrained(folder)
    images.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )
