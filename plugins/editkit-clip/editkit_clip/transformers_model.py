"""A loaded CLIP of transformers with its tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit.plugin import Tower
from editkit_clip.processing import first_end_mask, pad


class Preprocess:
    """One image to `pixel_values`; holds the processor alone, so that workers never see the model."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}."""
        return {"pixel_values": self.processor(images=image, return_tensors="pt")["pixel_values"][0]}


class LoadedClip:
    """A loaded `CLIPModel` with its tokenizer and image processor."""

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        processor: Any,
        towers: Sequence[Tower],
        bases: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module
        self.towers = tuple(towers)
        self.device = module.device
        self._tokenizer = tokenizer
        self._processor = processor
        self._bases = bases or {}
        self._parameters = dict(module.state_dict(keep_vars=True))

    @property
    def text_config(self) -> Any:
        """The text tower's configuration."""
        return self.module.config.text_config

    @property
    def context(self) -> int:
        """How many tokens a caption may have."""
        return int(self.text_config.max_position_embeddings)

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self.module.dtype)
        return functional.normalize(self.module.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised.

        No attention mask: attention is causal and the embedding is read at the first end-of-text token, so padding
        behind it cannot reach it.
        """
        output = self.module.get_text_features(input_ids=inputs["input_ids"])
        return functional.normalize(output.pooler_output.float(), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """None: every image token counts, CLS included."""
        return None

    def scores(self, cosines: Tensor) -> Tensor:
        """Return logits: the cosines times the learned scale."""
        scale: Tensor = self.module.logit_scale.detach().float().exp()
        return cosines * scale.to(cosines.device)

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the image processor as a function of one image."""
        return Preprocess(self._processor)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids from begin to end of text, cut to the context length."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=self.context)["input_ids"]
        return [list(row) for row in ids]

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad to the longest (`all`: to the context) with the padding id; the mask ends at the first end of text."""
        tokenizer = self._tokenizer
        end = tokenizer.eos_token_id if tokenizer is not None else self.text_config.eos_token_id
        padding = tokenizer.pad_token_id if tokenizer is not None else end
        padded = pad(ids, end if padding is None else padding, self.context if tokens == "all" else None)
        mask = torch.ones_like(padded, dtype=torch.bool) if tokens == "all" else first_end_mask(padded, end)
        return {"input_ids": padded}, mask

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        live: Tensor = self._parameters[key]
        return live

    def processing(self) -> dict[str, str]:
        """Name the tokenizer's and the image processor's class and backend, and the base model that they are of."""
        return {
            "image_processor": type(self._processor).__name__,
            "image_backend": str(getattr(self._processor, "backend", "unknown")),
            "tokenizer": type(self._tokenizer).__name__,
            **{f"{what} of".replace(" ", "_"): base for what, base in self._bases.items()},
        }
