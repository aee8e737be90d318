"""Whether a tokenizer ends captions where CLIP's text tower reads them: else all captions are embedded alike."""

from __future__ import annotations

from typing import Any

from editkit.plugin import ModelError

HIGHEST = 2
"""The `eos_token_id` of configs from before it was right: the tower then reads a caption at its highest id."""


def require_end_fits(source: str, whose: str, tokenizer: Any, declared: int) -> None:
    """Check the end of text and the padding behind it.

    Args:
        source: the model.
        whose: the tokenizer is.
        declared: `eos_token_id` of the text tower.

    Raises:
        ModelError: captions do not end as the model expects, or padding would be read in the place of their end.
    """
    end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
    copy = "Copy the tokenizer files of the model that these weights were trained from beside them."
    last = tokenizer("a")["input_ids"][-1]
    if end is None or last != end:
        raise ModelError(f"The tokenizer of {whose} ends captions with no end of text, which {source} reads.", copy)
    if declared not in (HIGHEST, end):
        raise ModelError(
            f"The tokenizer of {whose} ends captions with id {end}, but {source} reads them at id {declared} "
            "(eos_token_id in its config.json).",
            copy,
        )
    if declared == HIGHEST and padding is not None and padding > end:
        raise ModelError(
            f"The tokenizer of {whose} pads with id {padding}, above its end of text {end}: {source} reads captions at "
            "their highest id (eos_token_id 2 in its config.json), so they would depend on their batch.",
            f"Make the end of text its pad_token in tokenizer_config.json, or eos_token_id {end} in config.json.",
        )


def require_same_vocabulary(source: str, base: str, tokenizer: Any, rows: int) -> None:
    """Check that a tokenizer that is taken from another model has as many ids as this one embeds.

    Raises:
        ModelError: names both numbers.
    """
    if len(tokenizer) != rows:
        raise ModelError(
            f"{source} has no tokenizer, and that of {base} has {len(tokenizer)} ids, not the {rows} that it embeds.",
            "Copy the tokenizer files that it was trained with beside its weights.",
        )
