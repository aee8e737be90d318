"""What a config.json says: which towers a model is made of, how deep, and which vision blocks it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editkit.plugin import ModelError
from editkit_llava.families import family_of

VISION = {
    "clip_vision_model": 12,
    "siglip_vision_model": 12,
    "idefics3": 12,  # as older releases wrote it
    "idefics3_vision": 12,
    "smolvlm_vision": 12,
}
"""Vision towers whose blocks this adapter knows, and how many they have where the config leaves it out."""
LANGUAGE = {
    "gemma": 28,
    "gemma2": 26,
    "gemma3_text": 26,
    "llama": 32,
    "mistral": 32,
    "qwen2": 32,
    "qwen3": 32,
}
"""The same of language models; older configs do leave it out."""


def part_type(config: Mapping[str, Any], part: str) -> str:
    """Return the `model_type` of `vision_config` or `text_config`."""
    return str((config.get(part) or {}).get("model_type", "unknown"))


def vision_depth(config: Mapping[str, Any]) -> int:
    """Return how many blocks the vision tower has.

    Raises:
        ModelError: it is of a kind that this adapter does not know.
    """
    family = part_type(config, "vision_config")
    if family not in VISION:
        raise ModelError(
            f"This model's vision tower is of the kind '{family}', whose blocks are not known.",
            f"The adapter llava edits models whose vision tower is one of {', '.join(VISION)}.",
        )
    return int(config["vision_config"].get("num_hidden_layers", VISION[family]))


def language_depth(config: Mapping[str, Any]) -> int:
    """Return how many blocks the language model has; 0 where it is of a kind whose blocks are not known."""
    family = part_type(config, "text_config")
    return int(config["text_config"].get("num_hidden_layers", LANGUAGE[family])) if family in LANGUAGE else 0


def feature_layers(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return after which vision blocks, counted from 1, the language model reads; the deepest is the last that matters.

    Raises:
        ModelError: the tower has no such block.
    """
    family, depth = family_of(config), vision_depth(config)
    if family.feature_layers is None:
        return (depth,)
    given = config.get("vision_feature_layer", config.get("vision_feature_layers", family.feature_layers))
    layers = given if isinstance(given, (list, tuple)) else [given]
    found = tuple(layer if layer >= 0 else depth + 1 + layer for layer in layers)  # hidden state 0 is before block 1
    if not found or not all(1 <= layer <= depth for layer in found):
        raise ModelError(
            f"config.json reads the vision tower at vision_feature_layer {given}, but it has {depth} blocks.",
            "Check that config.json belongs to this model, or download it again.",
        )
    return found


def reads_normed(config: Mapping[str, Any]) -> bool:
    """Whether the projector is shown the last hidden state behind the vision tower's norm, and not blocks' outputs."""
    return family_of(config).feature_layers is None


def drops_first_token(config: Mapping[str, Any]) -> bool:
    """Whether the language model is not shown the vision tower's first token (CLS)."""
    strategy = config.get("vision_feature_select_strategy", family_of(config).strategy)
    return not reads_normed(config) and str(strategy) == "default"
