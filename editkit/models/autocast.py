"""Run a model's forward passes in half precision while its weights stay in float32 (`--autocast`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from editkit.components.protocols import Model


class _Autocast:
    """A model whose towers run under `torch.autocast`; all else is the model's own.

    Each forward pass has a context of its own: copies of weights in half precision end with it, so that no weight
    which is edited afterwards lives on in one.
    """

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        self._model = model
        self._dtype = dtype

    def encode_images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(self._model.device.type, self._dtype):
            return self._model.encode_images(inputs)

    def encode_texts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.autocast(self._model.device.type, self._dtype):
            return self._model.encode_texts(inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def autocast(model: Model, name: str) -> Model:
    """Return a model whose towers compute in float16 or bfloat16 where torch holds that to be safe; "none": itself.

    Weights, and embeddings [B, D], are float32 as before.
    """
    return model if name == "none" else cast(Model, _Autocast(model, getattr(torch, name)))
