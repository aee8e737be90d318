"""Tiny random vision-language models on disk, in the settings and under the names of published ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from clip_family_models import perturbed
from llava_models import WORDS
from safetensors.torch import load_file, save_file
from torch import Tensor

BLOCKS, LAYERS, SIDE, PATCH = 4, 2, 32, 8
SPECIAL = (
    *(
        "<unk>",
        "<s>",
        "</s>",
        "<pad>",
        "<image>",
        "<video>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
    ),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|im_start|>", "<|im_end|>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    *("<start_of_turn>", "<end_of_turn>"),
)
IMAGE, SOFT = SPECIAL.index("<image>"), SPECIAL.index("<image_soft_token>")
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "projection_dim": 24,
    "vocab_size": 32000,
}
SIGLIP = {key: value for key, value in CLIP.items() if key not in ("vocab_size", "projection_dim")} | {
    "model_type": "siglip_vision_model",
    "vision_use_head": False,
}
LANGUAGE = {
    "model_type": "llama",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 400,
    "max_position_embeddings": 512,
    **ENDS,
}
GEMMA = {**LANGUAGE, "model_type": "gemma", "num_key_value_heads": 1, "head_dim": 12}
GRID = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CROP = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
SQUARE = {"size": {"height": SIDE, "width": SIDE}, **HALF}
BELOW_MODEL = ("vision_tower.", "multi_modal_projector.", "image_newline")


@dataclass(frozen=True)
class Published:
    """A published model in small: config.json, the classes of transformers that prepare its inputs, their settings."""

    architecture: str
    config: Mapping[str, Any]
    images: str
    image_settings: Mapping[str, Any]
    processor: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    videos: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What the image processor is told so that it makes the whole image alone."""
    named_tokens: Mapping[str, str] = field(default_factory=dict)
    """Tokens that the tokenizer knows by a name."""


CLIP_TOKENS = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
IDEFICS = {
    "scale_factor": 2,
    "image_token_id": IMAGE,
    "pad_token_id": 3,
    "text_config": LANGUAGE,
    "tie_word_embeddings": False,
}
IDEFICS_IMAGES = {
    "size": {"longest_edge": 2 * SIDE},
    "max_image_size": {"longest_edge": SIDE},
    "do_image_splitting": True,
    **HALF,
}
IDEFICS_SETTINGS = {"image_seq_len": (SIDE // PATCH) ** 2 // 4}
PUBLISHED: Mapping[str, Published] = {
    "llava-hf/LLaVA-NeXT-Video-7B-hf": Published(
        "LlavaNextVideoForConditionalGeneration",
        {
            "model_type": "llava_next_video",
            "vision_config": CLIP,
            "text_config": LANGUAGE,
            "image_token_index": IMAGE,
            "video_token_index": SPECIAL.index("<video>"),
            "spatial_pool_mode": "average",
            "spatial_pool_stride": 2,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "use_image_newline_parameter": True,
            **GRID,
        },
        "LlavaNextImageProcessor",
        {**CROP, **GRID},
        "LlavaNextVideoProcessor",
        CLIP_TOKENS,
        "LlavaNextVideoVideoProcessor",
    ),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": Published(
        "LlavaOnevisionForConditionalGeneration",
        {
            "model_type": "llava_onevision",
            "vision_config": SIGLIP,
            "text_config": {**LANGUAGE, "model_type": "qwen2"},
            "image_token_index": IMAGE,
            "video_token_index": SPECIAL.index("<video>"),
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
            "projector_hidden_act": "gelu",
            **GRID,
        },
        "LlavaOnevisionImageProcessor",
        {**SQUARE, **GRID},
        "LlavaOnevisionProcessor",
        {"num_image_tokens": (SIDE // PATCH) ** 2, "vision_feature_select_strategy": "full"},
        "LlavaOnevisionVideoProcessor",
    ),
    "llava-hf/vip-llava-7b-hf": Published(
        "VipLlavaForConditionalGeneration",
        {
            "model_type": "vipllava",
            "vision_config": CLIP,
            "text_config": LANGUAGE,
            "image_token_index": IMAGE,
            "projector_layernorm_eps": 1e-05,
            "vision_feature_layers": [-2, -3, 1],
        },
        "CLIPImageProcessor",
        CROP,
        "LlavaProcessor",
        CLIP_TOKENS,
    ),
    "google/paligemma-3b-pt-224": Published(
        "PaliGemmaForConditionalGeneration",
        {
            "model_type": "paligemma",
            "vision_config": {**SIGLIP, "projection_dim": 24, "projector_hidden_act": "gelu_fast"},
            "text_config": {**GEMMA, "num_image_tokens": 16},
            "image_token_index": IMAGE,
            "projection_dim": 24,
            "hidden_size": 24,
            **ENDS,
        },
        "SiglipImageProcessor",
        {**SQUARE, "image_seq_length": 16},
        "PaliGemmaProcessor",
    ),
    "google/paligemma2-3b-pt-224": Published(
        "PaliGemmaForConditionalGeneration",
        {
            "model_type": "paligemma",
            "vision_config": {**SIGLIP, "projection_dim": 24, "projector_hidden_act": "gelu_fast"},
            "text_config": {**GEMMA, "model_type": "gemma2", "query_pre_attn_scalar": 12, "sliding_window": 64},
            "image_token_index": IMAGE,
            "projection_dim": 24,
            **ENDS,
        },
        "SiglipImageProcessor",
        {**SQUARE, "image_seq_length": 16},
        "PaliGemmaProcessor",
    ),
    "google/gemma-3-4b-it": Published(
        "Gemma3ForConditionalGeneration",
        {
            "model_type": "gemma3",
            "vision_config": SIGLIP,
            "text_config": {
                **GEMMA,
                "model_type": "gemma3_text",
                "query_pre_attn_scalar": 12,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 16,
            },
            "mm_tokens_per_image": 4,
            "boi_token_index": SPECIAL.index("<start_of_image>"),
            "eoi_token_index": SPECIAL.index("<end_of_image>"),
            "image_token_index": SOFT,
            **ENDS,
        },
        "Gemma3ImageProcessor",
        {**SQUARE, "image_seq_length": 4, "do_pan_and_scan": None},
        "Gemma3Processor",
        {"image_seq_length": 4},
        named_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    ),
    "HuggingFaceTB/SmolVLM-Instruct": Published(
        "Idefics3ForConditionalGeneration",
        {"model_type": "idefics3", "vision_config": {**SIGLIP, "model_type": "idefics3"}, **IDEFICS},
        "Idefics3ImageProcessor",
        IDEFICS_IMAGES,
        "Idefics3Processor",
        IDEFICS_SETTINGS,
        shown={"do_image_splitting": False},
    ),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": Published(
        "SmolVLMForConditionalGeneration",
        {"model_type": "smolvlm", "vision_config": {**SIGLIP, "model_type": "smolvlm_vision"}, **IDEFICS},
        "SmolVLMImageProcessor",
        IDEFICS_IMAGES,
        "SmolVLMProcessor",
        IDEFICS_SETTINGS,
        "SmolVLMVideoProcessor",
        shown={"do_image_splitting": False},
    ),
}
"""By hub id."""


def tiny_vlm(folder: Path, name: str, *, published: bool = True, processor: bool = True) -> Path:
    """Write a small model of a family under published names, or under those that transformers 5 gives live modules.

    Args:
        processor: whether all that captioning needs is written, and not only tokenizer and image processor.
    """
    import transformers

    one = PUBLISHED[name]
    kind = getattr(transformers, one.architecture)
    model = perturbed(kind, kind.config_class.from_dict(json.loads(json.dumps(one.config))))
    with torch.no_grad():  # captions are of words, and of what the image shows
        said = model.get_output_embeddings().weight
        said[: len(SPECIAL)] *= 0.01
        said[len(SPECIAL) + len(WORDS) :] *= 0.01
        for key, parameter in model.named_parameters():
            parameter *= 5 if "projector" in key or "connector" in key else 1
    model.generation_config = transformers.GenerationConfig(**ENDS)
    model.save_pretrained(folder)
    if not published:
        tied = {id(tensor): key for key, tensor in reversed(model.state_dict(keep_vars=True).items())}
        tensors = {
            key: tensor.detach() for key, tensor in model.state_dict(keep_vars=True).items() if tied[id(tensor)] == key
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif one.config["model_type"] not in ("idefics3", "smolvlm"):
        saved = load_file(folder / "model.safetensors")
        save_file({_published(key): tensor for key, tensor in saved.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**one.config, "architectures": [one.architecture]}, indent=2))
    images = getattr(transformers, one.images)(**one.image_settings)
    images.save_pretrained(folder)
    if processor:
        parts = {"image_processor": images, "tokenizer": _tokenizer(one.named_tokens)}
        if one.videos:
            parts["video_processor"] = getattr(transformers, one.videos)()
        getattr(transformers, one.processor)(**parts, **one.settings).save_pretrained(folder)
        images.save_pretrained(folder)
    else:
        _tokenizer(one.named_tokens).save_pretrained(folder)
    return folder


def plain_vlm(name: str) -> Callable[[str], Callable[..., Tensor]]:
    """What embeds with transformers alone, an item at a time: the mean of what the whole model shows its projector, and
    of the language model's last hidden state."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    def library(source: str) -> Callable[..., Tensor]:
        model, info = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation="eager",  # the others let PaliGemma look ahead where there is no padding
            output_loading_info=True,
        )
        assert not any(info.values()), info
        model.eval()
        tokenizer, processor = AutoTokenizer.from_pretrained(source), AutoImageProcessor.from_pretrained(source)
        whole = model.model
        projector, language = (
            (whole.connector, whole.text_model)
            if hasattr(whole, "connector")
            else (whole.multi_modal_projector, whole.language_model)
        )
        shown: list[Tensor] = []
        projector.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))

        def embed(tower: str, items: Sequence[Any]) -> Tensor:
            rows = []
            for item in items:
                with torch.no_grad():
                    if tower == "text":
                        ids = tokenizer(item, return_tensors="pt")["input_ids"]
                        rows.append(language(input_ids=ids, use_cache=False).last_hidden_state.mean(dim=1))
                    else:
                        inputs = processor(images=item, return_tensors="pt", **PUBLISHED[name].shown)
                        model.get_image_features(
                            **{key: held for key, held in inputs.items() if key in ("pixel_values", "image_sizes")}
                        )
                        rows.append(shown.pop()[:1].mean(dim=1))
            return torch.cat(rows)

        return embed

    return library


def _published(key: str) -> str:
    """What checkpoints on the hub call a tensor that transformers saves."""
    if key.startswith("vision_tower.") and not key.startswith("vision_tower.vision_model."):
        return key.replace("vision_tower.", "vision_tower.vision_model.")
    return key


def _tokenizer(named: Mapping[str, str]) -> Any:
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
        extra_special_tokens=dict(named) or list(SPECIAL[4:]),
    )


def with_tower(folder: Path, kind: str) -> None:
    """Write a LLaVA's config.json and weights, with a vision tower of another kind, by its name alone."""
    tiny_vlm(folder, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", processor=False)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "llava", "vision_config": {"model_type": kind, "num_hidden_layers": 2}}
    (folder / "config.json").write_text(json.dumps(config))
