"""Captions to ids as open_clip does it, with its own tokenizer or one of Hugging Face's, and back to equal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from editkit.plugin import ModelError, ModelFiles
from editkit_clip.processing import first_end_mask, pad

CONFIG = "open_clip_config.json"
VOCABULARIES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", *VOCABULARIES)


def make_tokenizer(files: ModelFiles) -> Any:
    """Return a model's tokenizer: of a folder, what is in it; of a lone checkpoint, what its architecture names.

    Raises:
        ModelError: it is not there and cannot be downloaded, or adds tokens behind the padding.
    """
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    settings = files.config["model_cfg"]["text_cfg"]
    name, root = settings.get("hf_tokenizer_name"), files.checkpoint.root
    if settings.get("tokenizer_mode"):
        raise ModelError(
            f"{files.source} tokenizes in a mode that editkit does not know, '{settings['tokenizer_mode']}'.",
            "Edit its vision tower alone: add --target vision:mlp.out",
        )
    in_folder = not files.checkpoint.alone and (root / CONFIG).is_file()
    if name and in_folder and not any((root / file).is_file() for file in VOCABULARIES):
        raise ModelError(  # transformers would make up a tokenizer that knows no word
            f"{files.source} has no tokenizer: none of {', '.join(VOCABULARIES)} is there.",
            f"Copy the tokenizer files of {name} into the folder.",
        )
    given = {"context_length": settings.get("context_length", 77), **(settings.get("tokenizer_kwargs") or {})}
    try:
        if in_folder:
            return open_clip.get_tokenizer(f"local-dir:{root}")
        return HFTokenizer(name, **given) if name else SimpleTokenizer(**given)
    except Exception as error:  # the hub, a missing package, a damaged file
        raise ModelError(
            f"The tokenizer {name or 'of open_clip'} of {files.source} cannot be loaded: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}",
            "Go online once, or give a folder with open_clip_config.json, the weights and the tokenizer's files.",
        ) from error


def caption_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each caption, begin to end of text, cut to the context, without the padding around it."""
    if not texts:
        return []
    padded: Tensor = tokenizer(list(texts))  # [B, context]
    if not _is_hugging_face(tokenizer):  # padded with 0, which is also "!"
        lengths = first_end_mask(padded, tokenizer.eot_token_id).sum(dim=1).tolist()
        return [row[:length] for row, length in zip(padded.tolist(), lengths, strict=True)]
    cleaned = [tokenizer.clean_fn(text) for text in texts]
    plain = tokenizer.tokenizer(cleaned, max_length=tokenizer.context_length, truncation=True)["input_ids"]
    rows = zip(padded.tolist(), map(len, plain), strict=True)
    return [row[-length:] if pads_left(tokenizer) else row[:length] for row, length in rows]


def padded_ids(tokenizer: Any, ids: Sequence[Sequence[int]], length: int | None) -> tuple[Tensor, Tensor]:
    """Return ids [B, T] filled up to `length` or to the longest, as the tokenizer does, and which are no padding."""
    padding = (tokenizer.tokenizer.pad_token_id or 0) if _is_hugging_face(tokenizer) else 0
    own = [[1] * len(row) for row in ids]
    if pads_left(tokenizer):
        filled = pad([row[::-1] for row in ids], padding, length).flip(1)
        return filled, pad(own, 0, length).flip(1).bool()
    return pad(ids, padding, length), pad(own, 0, length).bool()


def pads_left(tokenizer: Any) -> bool:
    """Whether padding comes before the caption, so that its positions depend on it."""
    return _is_hugging_face(tokenizer) and tokenizer.tokenizer.padding_side == "left"


def tokenizer_name(tokenizer: Any) -> str:
    """Return the class that does the work."""
    return type(tokenizer.tokenizer if _is_hugging_face(tokenizer) else tokenizer).__name__


def _is_hugging_face(tokenizer: Any) -> bool:
    return hasattr(tokenizer, "tokenizer")
