"""A loaded tower that is a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from editkit.plugin import Tower
from editkit_clip.base_model import Part
from editkit_clip.transformers_model import LoadedClip


class LoadedTower(LoadedClip):
    """A `CLIPTextModel` or `CLIPVisionModel` of transformers, or one with a projection, and what prepares its inputs.

    Args:
        made: the tokenizer or the image processor.
        live_name: what `module` calls a tensor of the checkpoint.
        part: where `made` is from.
    """

    def __init__(self, module: Any, made: Any, tower: Tower, live_name: Callable[[str], str], part: Part) -> None:
        bases: dict[str, str] = {part.what: part.base} if part.borrowed else {}
        super().__init__(
            module, made if tower == "text" else None, made if tower == "vision" else None, (tower,), bases
        )
        self._live_name = live_name

    @property
    def text_config(self) -> Any:
        """The tower's configuration."""
        return self.module.config

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> [B, D] float32, normalised: projected, else the pooled output."""
        output = self.module(pixel_values=inputs["pixel_values"].to(self.module.dtype))
        return functional.normalize(self.embedding(output).float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"input_ids": [B, T]} -> [B, D] float32, normalised: projected, else the pooled output."""
        output = self.module(input_ids=inputs["input_ids"])
        return functional.normalize(self.embedding(output).float(), dim=-1)

    def scores(self, cosines: Tensor) -> Tensor:
        """Return the cosines: one tower says nothing of pairs."""
        return cosines

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        return super().parameter(self._live_name(key))

    def embedding(self, output: Any) -> Tensor:
        """Return what the library says that the embedding is: [B, D]."""
        projected = {"text": "text_embeds", "vision": "image_embeds"}[self.towers[0]]
        found: Tensor = output[projected if projected in output else "pooler_output"]
        return found
