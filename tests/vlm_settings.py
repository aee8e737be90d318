"""Published vision-language models in small: config.json, and what prepares their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
WITH_PLACES = 1400
"""Ids of PaliGemma, whose processor adds 1,024 tokens for places in an image and 128 for their outlines."""
GEMMA = {**LANGUAGE, "model_type": "gemma", "num_key_value_heads": 1, "head_dim": 12}
GRID = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CROP = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
SQUARE = {"size": {"height": SIDE, "width": SIDE}, **HALF}


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
            "text_config": {**GEMMA, "num_image_tokens": 16, "vocab_size": WITH_PLACES},
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
            "text_config": {
                **GEMMA,
                "model_type": "gemma2",
                "query_pre_attn_scalar": 12,
                "sliding_window": 64,
                "vocab_size": WITH_PLACES,
            },
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
