"""Run a model's forward passes in half precision while its weights stay in float32 (`--autocast`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from editkit.errors import RecipeError
from editkit.protocols import Model


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


def require_autocast(name: str, device: str) -> None:
    """Check that a device computes in the precision asked for.

    Raises:
        RecipeError: it does not.
    """
    if name == "none":
        return
    dtype = getattr(torch, name)
    made = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where torch knows no such autocast it says so, and goes on without
        try:
            with torch.autocast(torch.device(device).type, dtype):
                one = torch.ones(1, 1, device=device)
                made = (one @ one).dtype
        except RuntimeError:
            pass
    if made != dtype:
        raise RecipeError(
            f"--autocast {name}: torch does not compute so on the device '{device}'.",
            "Choose the other one of float16 and bfloat16, or leave it out.",
        )
