"""Tiny text towers of Hugging Face's as open_clip's architectures name them: their configurations and tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip_models import mt5_tokenizer, own_vision, pieces
from transformers import M2M100Config, MT5Config, NllbTokenizer, RobertaConfig, RobertaTokenizer
from transformers import XLMRobertaConfig as XlmRobertaConfig
from transformers import XLMRobertaTokenizer as XlmRobertaTokenizer

SMALL_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 600,
    "type_vocab_size": 1,
    "max_position_embeddings": 514,
}
SMALL_MT5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": 600}
SMALL_M2M = {
    "d_model": 32,
    **{
        f"{side}_{what}": number for side in ("encoder", "decoder") for what, number in (("layers", 2), ("ffn_dim", 48))
    },
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    "vocab_size": 600,
}


def _roberta_tokenizer(folder: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    RobertaTokenizer(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)


def xlm_roberta_tokenizer(folder: Path) -> None:
    """Write an `XLMRobertaTokenizer` as xlm-roberta-base and xlm-v-base have it: padding 1, end of text 2."""
    own = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    rest = [piece for piece in pieces() if piece[0] not in dict(own)]
    XlmRobertaTokenizer(vocab=[*own, *rest, ("<mask>", 0.0)]).save_pretrained(folder)


def _nllb_tokenizer(folder: Path) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted({letter for piece, _ in pieces() for letter in piece} - {"<s>"})]
    NllbTokenizer(vocab={word: place for place, word in enumerate(words)}, merges=[]).save_pretrained(folder)


@dataclass(frozen=True)
class TextTower:
    """A published tower, small: its configuration and what writes its tokenizer."""

    config: Any
    tokenizer: Callable[[Path], None]


TOWERS = {
    "roberta-base": TextTower(RobertaConfig(**SMALL_BERT), _roberta_tokenizer),
    "xlm-roberta-base": TextTower(XlmRobertaConfig(**SMALL_BERT), xlm_roberta_tokenizer),
    "google/mt5-base": TextTower(MT5Config(**SMALL_MT5), mt5_tokenizer),
    "facebook/nllb-200-distilled-600M": TextTower(M2M100Config(**SMALL_M2M), _nllb_tokenizer),
}
LIKE = {
    "xlm-roberta-large": "xlm-roberta-base",
    "google/mt5-xl": "google/mt5-base",
    "facebook/nllb-200-distilled-1.3B": "facebook/nllb-200-distilled-600M",
}
"""Towers that differ from one of those above in their sizes alone."""


def tower_of(name: str) -> TextTower:
    """The small tower of a published one's kind."""
    return TOWERS[LIKE.get(name, name)]


def settings_with(published: str, folder: Path) -> dict[str, Any]:
    """An architecture with a small tower of Hugging Face's, whose configuration and tokenizer are put into a folder."""
    settings = open_clip.get_model_config(published)
    tower = tower_of(settings["text_cfg"]["hf_model_name"])
    tower.config.save_pretrained(folder)
    tower.tokenizer(folder)
    names = {"hf_model_name": str(folder), "hf_model_pretrained": False, "hf_tokenizer_name": str(folder)}
    vision = {"timm_model_name": "vit_editkit_siglip", "image_size": 48}
    return {
        **settings,
        "embed_dim": 24,
        "vision_cfg": settings["vision_cfg"]
        | (vision if "timm_model_name" in settings["vision_cfg"] else own_vision()),
        "text_cfg": settings["text_cfg"] | names,
    }
