"""A loaded vision-language model as calibration sees it: image features that a language model reads, and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editkit.plugin import Tower
from editkit_llava.processing import Preprocess, pad
from editkit_llava.towers import Towers


class LoadedLlava:
    """The towers of a LLaVA with its tokenizer and image processor.

    Args:
        module: the towers asked for.
        keys: live name -> checkpoint key.
        layers: after which vision blocks, counted from 1, the language model reads; none: it reads what the vision
            tower puts out, behind its norm.
        skip: how many tokens at the start of an image it is not shown (CLS: 1).
    """

    def __init__(
        self,
        module: Towers,
        keys: Mapping[str, str],
        towers: Sequence[Tower],
        *,
        layers: Sequence[int],
        skip: int,
        tokenizer: Any,
        processor: Any,
        image_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.module = module
        self.towers = tuple(towers)
        self._parameters = {keys[name]: tensor for name, tensor in module.named_parameters()}
        first = next(iter(self._parameters.values()))
        self.device, self._dtype = first.device, first.dtype
        self._layers, self._skip = list(layers), skip
        self._tokenizer = tokenizer
        self._processor = processor
        self._image_settings = dict(image_settings or {})

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32: the mean token of the features, normalised.

        The features are what the language model reads, before the projector, which runs behind them for its sites.
        """
        pixels = inputs["pixel_values"].to(self._dtype)
        if self._layers:
            hidden = self.module.vision_tower(pixel_values=pixels, output_hidden_states=self._layers).hidden_states
            tokens = torch.cat([hidden[layer] for layer in self._layers], dim=-1)[:, self._skip :]  # [B, T, D]
        else:
            tokens = self.module.vision_tower(pixel_values=pixels).last_hidden_state
        self.module.multi_modal_projector(tokens)
        return functional.normalize(tokens.float().mean(dim=1), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids", "attention_mask": [B, T]} -> [B, D] float32: the mean of the last hidden state, normalised.

        Attention is causal and padding comes last, so no real token sees it; the mask only chooses what the mean is of.
        """
        hidden = self.module.language_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        real = inputs["attention_mask"][:, :, None]  # [B, T, 1]
        total = hidden.float().masked_fill(~real, 0).sum(dim=1)
        return functional.normalize(total / real.sum(dim=1), dim=-1)

    def image_mask(self, inputs: Mapping[str, Tensor]) -> None:
        """Every image token counts, CLS included."""

    def scores(self, cosines: Tensor) -> Tensor:
        """Return the cosines: the model itself compares nothing."""
        return cosines

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the image processor as a function of one image."""
        return Preprocess(self._processor, self._image_settings)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids as the tokenizer begins and ends a text, cut to the language model's context."""
        context = self.module.language_model.config.max_position_embeddings
        ids = self._tokenizer(list(texts), truncation=True, max_length=context)["input_ids"]
        return [list(row) for row in ids]

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> tuple[dict[str, Tensor], Tensor]:
        """Pad behind the captions to the longest; whatever `tokens` says, the mask is of all their own tokens.

        A language model has no fixed length whose padding could count.
        """
        padding = self._tokenizer.pad_token_id
        padded, mask = pad(ids, 0 if padding is None else padding)
        return {"input_ids": padded, "attention_mask": mask}, mask

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        return self._parameters[key]

    def processing(self) -> dict[str, str]:
        """Name the tokenizer's and the image processor's class and backend."""
        return {
            "image_processor": type(self._processor).__name__,
            "image_backend": str(getattr(self._processor, "backend", "unknown")),
            "tokenizer": type(self._tokenizer).__name__,
        }
