"""CoCa's decoder, run token by token.

open_clip has a `generate` of its own, which does not run beside transformers 5: it imports a beam search that is
gone from there, and without it refuses greedy decoding and sampling too. What follows gives the same captions as its
"top_k" with k = 1, on the model's plain forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from editkit.plugin import ModelError

SHORTEST = 5
"""Tokens, begin of text among them, before which no end of text is taken: the library's default."""


@torch.no_grad()
def decode(
    module: Any,
    pixels: Tensor,
    *,
    begin: int,
    end: int,
    new_tokens: int,
    temperature: float,
    draws: Sequence[Generator],
) -> list[list[int]]:
    """Return the tokens of one caption per image, without begin, end and padding.

    Args:
        module: open_clip's CoCa, in evaluation mode.
        pixels: [B, 3, H, W], in the module's dtype, on its device.
        begin: id that every caption starts with.
        end: id that ends a caption; the padding id does too, since it stands for no word in training.
        new_tokens: at most so many are taken, `end` included.
        temperature: 0: the likeliest token each time.
        draws: B generators on the CPU, one an image; not touched at temperature 0.

    Raises:
        ModelError: what the decoder says is not finite.
    """
    seen = module(pixels)
    ids = torch.full((len(pixels), 1), begin, device=pixels.device)  # [B, T]
    going = torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
    for _ in range(min(new_tokens, module.context_length)):
        told = module(
            None, ids, image_latent=seen["image_features"], image_embs=seen["image_embs"], output_labels=False
        )
        logits = told["logits"][:, -1].float()  # [B, vocabulary]
        if not bool(logits.isfinite().all()):
            raise ModelError(
                "The decoder's scores of the next word are not finite.",
                "Check the weights for NaN (a damaged download?) or compute in --dtype float32.",
            )
        if ids.shape[1] < SHORTEST:
            logits[:, end] = float("-inf")
        following = _choose(logits, temperature, draws).where(going, module.pad_id)  # [B]
        ids = torch.cat([ids, following[:, None]], dim=1)
        going &= (following != end) & (following != module.pad_id)
        if not bool(going.any()):
            break
    return [_until(row, (end, module.pad_id)) for row in ids[:, 1:].tolist()]


def _choose(logits: Tensor, temperature: float, draws: Sequence[Generator]) -> Tensor:
    """Return one id per row of logits [B, vocabulary], the first of the likeliest at temperature 0."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = (logits.cpu() / temperature).softmax(dim=-1)  # a seed means the same on every device
    drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(chances, draws, strict=True)]
    return torch.cat(drawn).to(logits.device)


def _until(row: list[int], ends: tuple[int, ...]) -> list[int]:
    return row[: next((place for place, token in enumerate(row) if token in ends), len(row))]
