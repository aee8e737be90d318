"""A loaded open_clip CLIP, whose text tower runs on captions as short as they are, if its attention is causal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit_clip.open_clip_text import caption_ids, padded_ids, pads_left, tokenizer_name


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
        self._pool = getattr(self._text, "text_pool_type", None) or getattr(self._text, "pool_type", "argmax")
        self._own_tower = hasattr(self._text, "attn_mask")  # one of Hugging Face's masks padding itself
        causal = self._own_tower and self._text.attn_mask is not None and self._pool != "last"
        # elsewhere padding is seen, or moves what is read
        self._cuts = (causal or not self._own_tower) and not pads_left(tokenizer)

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self.module.logit_scale.dtype)
        return functional.normalize(self.module.encode_image(pixels).float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised.

        T is the context where attention is not causal, or the embedding is read at the last position. Elsewhere it is
        read at the end of text, so running the same modules on the first T positions, which open_clip's own
        `encode_text` does not do, gives the same embedding. A tower of Hugging Face's masks padding, and takes any T.
        """
        from open_clip.transformer import text_global_pool

        text, ids = self._text, inputs["input_ids"]
        length = ids.shape[1]
        if not self._cuts or not self._own_tower or length == text.context_length:
            return functional.normalize(self.module.encode_text(ids).float(), dim=-1)
        x = text.token_embedding(ids) + text.positional_embedding[:length]  # [B, T, width]
        x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
        end = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
        pooled = text_global_pool(x, ids, self._pool, eos_token_id=end)  # [B, width]
        if text.text_projection is not None:
            linear = isinstance(text.text_projection, torch.nn.Linear)
            pooled = text.text_projection(pooled) if linear else pooled @ text.text_projection
        return functional.normalize(pooled.float(), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> None:
        """Every image token counts, CLS included."""

    def scores(self, cosines: Tensor) -> Tensor:
        """Return logits: the cosines times the learned scale."""
        scale: Tensor = self.module.logit_scale.detach().float().exp()
        return cosines * scale.to(cosines.device)

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the evaluation transform as a function of one image."""
        return Preprocess(self._transform)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids from begin to end of text, cut to the context length."""
        return caption_ids(self._tokenizer, texts)

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad as the tokenizer does, to the longest where padding is not seen, else (and for `all`) to the context.

        The mask [B, T] is the captions' own tokens, and the last position where the embedding is read there.
        """
        whole = tokens == "all" or not self._cuts
        # a tower of Hugging Face's names the most positions that it has, not how many it is given
        context = self._text.context_length if self._own_tower else self._tokenizer.context_length
        padded, mask = padded_ids(self._tokenizer, ids, context if whole else None)
        if tokens == "all":
            mask = torch.ones_like(mask)
        if self._pool == "last":
            mask[:, -1] = True
        return {"input_ids": padded}, mask

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        live: Tensor = self._parameters[key]
        return live

    def processing(self) -> dict[str, str]:
        """Name the tokenizer's class, if it is loaded, and the image transform and its backend."""
        images = {"image_processor": "open_clip.image_transform_v2", "image_backend": "torchvision"}
        return images if self._tokenizer is None else {**images, "tokenizer": tokenizer_name(self._tokenizer)}
