"""A loaded vision transformer of timm: images to pooled features, and no captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor
from torch.nn import functional

from editkit.plugin import ModelError


class Preprocess:
    """One image to `pixel_values`; holds the transform alone, so that workers never see the model."""

    def __init__(self, transform: Callable[[Any], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}."""
        return {"pixel_values": self.transform(image)}


class LoadedTimm:
    """A `VisionTransformer` of timm with the evaluation transform of its own data configuration."""

    def __init__(self, module: Any, towers: Sequence[str]) -> None:
        from timm.data import create_transform, resolve_model_data_config

        self.module = module
        self.towers = tuple(towers)
        first = next(module.parameters())
        self.device, self._dtype = first.device, first.dtype
        self._transform = create_transform(**resolve_model_data_config(module), is_training=False)
        self._parameters = dict(module.state_dict(keep_vars=True))

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """{"pixel_values": [B, 3, H, W]} -> pooled features before the classifier, [B, D] float32, normalised."""
        pixels = inputs["pixel_values"].to(self._dtype)
        features = self.module.forward_features(pixels)  # [B, T, D]
        return functional.normalize(self.module.forward_head(features, pre_logits=True).float(), dim=-1)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> NoReturn:
        """Refuse captions."""
        _refuse_captions()

    def image_mask(self, inputs: Mapping[str, Tensor]) -> None:
        """Every image token counts, CLS and registers included."""

    def scores(self, cosines: Tensor) -> Tensor:
        """Return the cosines: an image encoder says nothing of pairs."""
        return cosines

    def image_preprocessor(self) -> Callable[[Any], Mapping[str, Tensor]]:
        """Return the evaluation transform as a function of one image."""
        return Preprocess(self._transform)

    def tokenize(self, texts: Sequence[str]) -> NoReturn:
        """Refuse captions."""
        _refuse_captions()

    def text_inputs(self, ids: Sequence[Sequence[int]], tokens: str) -> NoReturn:
        """Refuse captions."""
        _refuse_captions()

    def parameter(self, key: str) -> Tensor:
        """Return the live tensor of a checkpoint key."""
        live: Tensor = self._parameters[key]
        return live

    def processing(self) -> dict[str, str]:
        """Name the image transform and its backend."""
        return {"image_processor": "timm.data.create_transform", "image_backend": "torchvision"}


def _refuse_captions() -> NoReturn:
    raise ModelError("An image encoder of timm cannot read captions.", "Give it images alone.")
