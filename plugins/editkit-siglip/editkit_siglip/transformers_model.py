"""A loaded SigLIP of transformers, whose captions always fill the context and whose images may be padded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit_clip.processing import pad
from editkit_clip.transformers_model import LoadedClip

SIGLIP_END = 1
"""The id of the end of text in SigLIP's vocabulary, which is its padding too."""


class Preprocess:
    """One image to all that the processor makes of it; holds no model, so that workers never see one."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}; of NaFlex its patches [T, 3 * P * P], their mask [T] and grid [2]."""
        made = self.processor(images=image, return_tensors="pt")
        return {name: tensor[0] for name, tensor in made.items()}


class LoadedSiglip(LoadedClip):
    """A loaded `SiglipModel` or `Siglip2Model` with its tokenizer and image processor.

    Captions are embedded without an attention mask, as CLIP's are, but for another reason: these models were trained to
    look at padding, and their embedding is read at the last position.
    """

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What `image_preprocessor` gives, batched -> [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self.module.dtype)
        output = self.module.get_image_features(**{**inputs, "pixel_values": pixels})
        return functional.normalize(output.pooler_output.float(), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """NaFlex: [B, T] bool, False for the patches that fill up an image's own; else None: every patch counts."""
        mask = inputs.get("pixel_attention_mask")
        return None if mask is None else mask.bool()

    def scores(self, cosines: Tensor) -> Tensor:
        """Return the probability that image and caption belong together, each pair by itself."""
        scale, bias = (
            one.detach().float().to(cosines.device) for one in (self.module.logit_scale, self.module.logit_bias)
        )
        return torch.sigmoid(cosines * scale.exp() + bias)

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the image processor as a function of one image."""
        return Preprocess(self._processor)

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad to the whole context, on the tokenizer's side; the mask [B, context] is by `tokens`.

        `real`: the caption through its end, and the last position, where the embedding is read; `released`: every id
        but SigLIP's end of text; `all`: every position.
        """
        padded = self._fill(ids, self._tokenizer.pad_token_id)
        if tokens == "all":
            mask = torch.ones_like(padded, dtype=torch.bool)
        elif tokens == "released":
            mask = padded != SIGLIP_END
        else:
            mask = self._fill([[1] * len(row) for row in ids], 0).bool()
            mask[:, -1] = True
        return {"input_ids": padded}, mask

    def _fill(self, rows: Sequence[Sequence[int]], padding: int) -> Tensor:
        """Return [B, context], each row filled up with `padding` on the tokenizer's side."""
        if self._tokenizer.padding_side == "left":
            return pad([row[::-1] for row in rows], padding, self.context).flip(1)
        return pad(rows, padding, self.context)
