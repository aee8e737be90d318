"""A loaded open_clip CLIP, whose text tower runs on captions as short as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit_clip.processing import first_end_mask, pad


class Preprocess:
    """One image to `pixel_values` by open_clip's evaluation transform."""

    def __init__(self, transform: Callable[[Any], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}."""
        return {"pixel_values": self.transform(image)}


class LoadedOpenClip:
    """A `CLIP` or `CustomTextCLIP` of open_clip with its tokenizer and image transform."""

    def __init__(self, module: Any, tokenizer: Any, transform: Any, towers: Sequence[str]) -> None:
        self.module = module
        self.towers = tuple(towers)
        self.device = module.logit_scale.device
        self._text = getattr(module, "text", module)
        self._tokenizer = tokenizer
        self._transform = transform
        self._parameters = dict(module.state_dict(keep_vars=True))

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self.module.logit_scale.dtype)
        return functional.normalize(self.module.encode_image(pixels).float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised.

        open_clip's own `encode_text` wants the whole context; attention is causal and the embedding is read at the
        end of text, so running the same modules on the first T positions gives the same embedding.
        """
        from open_clip.transformer import text_global_pool

        text, ids = self._text, inputs["input_ids"]
        length = ids.shape[1]
        x = text.token_embedding(ids) + text.positional_embedding[:length]  # [B, T, width]
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
        pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", "argmax")
        end = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
        pooled = text_global_pool(x, ids, pool, eos_token_id=end)  # [B, width]
        if text.text_projection is not None:
            linear = isinstance(text.text_projection, torch.nn.Linear)
            pooled = text.text_projection(pooled) if linear else pooled @ text.text_projection
        return functional.normalize(pooled.float(), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> None:
        """Every image token counts, CLS included."""

    def scores(self, cosines: Tensor) -> Tensor:
        """Return logits: the cosines times the learned scale."""
        scale: Tensor = self.module.logit_scale.detach().float().exp()
        return cosines * scale

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the evaluation transform as a function of one image."""
        return Preprocess(self._transform)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids from begin to end of text, cut to the context length."""
        if not texts:
            return []
        padded = self._tokenizer(list(texts))  # [B, context], padded with 0, which is also "!"
        lengths = first_end_mask(padded, self._tokenizer.eot_token_id).sum(dim=1).tolist()
        return [row[:length] for row, length in zip(padded.tolist(), lengths, strict=True)]

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad with 0 to the longest (`all`: to the context); the mask ends at the first end of text."""
        padded = pad(ids, 0, self._text.context_length if tokens == "all" else None)
        if tokens == "all":
            return {"input_ids": padded}, torch.ones_like(padded, dtype=torch.bool)
        return {"input_ids": padded}, first_end_mask(padded, ids[0][-1])  # every row ends with the end of text

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        live: Tensor = self._parameters[key]
        return live

    def processing(self) -> dict[str, str]:
        """Name the tokenizer's and the image transform's class and backend."""
        return {
            "image_processor": "open_clip.image_transform_v2",
            "image_backend": "torchvision",
            "tokenizer": type(self._tokenizer).__name__,
        }
