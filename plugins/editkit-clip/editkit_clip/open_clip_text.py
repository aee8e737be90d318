"""Captions to ids as open_clip does it, with its own tokenizer or one of Hugging Face's, and back to equal lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from editkit.plugin import ModelError, ModelFiles, fetch_files, require_ids_fit, settings_digest
from editkit_clip.processing import first_end_mask, pad

CONFIG = "open_clip_config.json"
VOCABULARY = 49408
"""How many ids open_clip's text towers embed where the settings do not say it."""
VOCABULARIES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "config.json",  # names the tokenizer's class where its own does not
    *VOCABULARIES,
)


def make_tokenizer(files: ModelFiles) -> Any:
    """Return a model's tokenizer: of a folder, what is in it; of a lone checkpoint, what its architecture names.

    Raises:
        ModelError: it is not there and cannot be downloaded, tokenizes in an unknown mode, or has ids that the text
            tower does not embed.
    """
    settings = files.config["model_cfg"]["text_cfg"]
    name, root = settings.get("hf_tokenizer_name"), files.checkpoint.root
    if settings.get("tokenizer_mode"):
        raise ModelError(
            f"{files.source} tokenizes in a mode that editkit does not know, '{settings['tokenizer_mode']}'.",
            "Edit its vision tower alone: add --target vision:mlp.out",
        )
    in_folder = not files.checkpoint.alone and (root / CONFIG).is_file()
    if name and in_folder and not _has_vocabulary(root):
        raise ModelError(  # transformers would make up a tokenizer that knows no word
            f"{files.source} has no tokenizer: none of {', '.join(VOCABULARIES)} is there.",
            f"Copy the tokenizer files of {name} into the folder.",
        )
    tokenizer = _tokenizer(files, settings, in_folder=in_folder)
    if _is_hugging_face(tokenizer) and not settings.get("hf_model_name"):
        require_ids_fit(files.source, tokenizer.tokenizer, settings.get("vocab_size", VOCABULARY))
    return tokenizer


def _tokenizer(files: ModelFiles, settings: Mapping[str, Any], *, in_folder: bool) -> Any:
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    name, root = settings.get("hf_tokenizer_name"), files.checkpoint.root
    given = {"context_length": settings.get("context_length", 77), **(settings.get("tokenizer_kwargs") or {})}
    try:
        if in_folder:
            return open_clip.get_tokenizer(f"local-dir:{root}")
        return HFTokenizer(str(_place_of(name)), **given) if name else SimpleTokenizer(**given)
    except Exception as error:  # the hub, a missing package, a damaged file
        raise ModelError(
            f"The tokenizer {name or 'of open_clip'} of {files.source} cannot be loaded: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}",
            "Go online once, or give a folder with open_clip_config.json, the weights and the tokenizer's files.",
        ) from error


def named_tokenizer(config: Mapping[str, Any]) -> str:
    """Return a digest of the tokenizer that an architecture's `model_cfg` names; empty: it is open_clip's own."""
    name = config.get("text_cfg", {}).get("hf_tokenizer_name")
    if not name:
        return ""
    try:
        return settings_digest(_place_of(name), TOKENIZER_FILES)
    except FileNotFoundError:
        return "none"


def _place_of(name: str) -> Path:
    """Return the folder of a tokenizer of Hugging Face's, fetched to the hub's cache if need be: a few small files.

    It is loaded from the very folder that its digest was taken of: what a name means may change on the hub.

    Raises:
        FileNotFoundError: it cannot be had.
    """
    local = Path(name).expanduser()
    found = local if local.is_dir() else fetch_files(name, TOKENIZER_FILES, _has_vocabulary)
    if found is None or not _has_vocabulary(found):
        raise FileNotFoundError(f"{name} is neither in the hub's cache nor can it be fetched")
    return found


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


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
