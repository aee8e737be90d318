"""Where and how to compute: device, precision, batches. torch is imported once a device is asked for."""

from __future__ import annotations

import warnings
from typing import Literal

from pydantic import ByteSize, Field, model_validator

from editkit.components.spec import Options
from editkit.errors import RecipeError, one_line


class Compute(Options):
    """How to compute; none of it is part of what an edit is, but for its `precision`."""

    device: str = "auto"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    autocast: Literal["none", "float16", "bfloat16"] = "none"
    batch_size: int = Field(32, ge=1)
    workers: int = Field(2, ge=0)
    cache: bool = True
    memory: ByteSize = Field(
        ByteSize(4 * 10**9), description="for statistics of sites, such as 8GB", validate_default=True
    )

    @model_validator(mode="after")
    def _autocast_starts_from_float32(self) -> Compute:
        if self.autocast != "none" and self.dtype != "float32":
            raise ValueError(
                f"autocast {self.autocast} is for weights in float32, but dtype is {self.dtype}; give one of the two"
            )
        return self

    @property
    def precision(self) -> dict[str, str]:
        """What the numbers of a result depend on: the weights' dtype, and what they are computed in if that differs."""
        weights: dict[str, str] = {"dtype": self.dtype}
        return weights if self.autocast == "none" else {**weights, "autocast": self.autocast}


def require_compute(compute: Compute) -> str:
    """Return the device to compute on, once it is known to compute as asked for.

    Raises:
        RecipeError: there is no such device here, or it does not compute in such a precision.
    """
    device = resolve_device(compute.device)
    require_autocast(compute.autocast, device)
    return device


def resolve_device(name: str) -> str:
    """Return the torch device for `auto`, or the one named.

    Raises:
        RecipeError: there is no such device here, or it cannot be used.
    """
    import torch

    here = devices()
    if name == "auto":
        return next((kind for kind in ("cuda", "mps") if f"{kind}:0" in here or kind in here), "cpu")
    reason = "there is no such device"
    if name in here or f"{name}:0" in here:
        try:
            torch.empty(1, device=name)
            return name
        except RuntimeError as error:  # another program may have it to itself, or fill it
            reason = one_line(error)[:200]
    raise RecipeError(
        f"Device '{name}' cannot be used here: {reason}.",
        f"Choose --device {' or '.join(['auto', *here])}; these are here.",
    )


def devices() -> list[str]:
    """Return the devices that are here, by their torch names."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def require_autocast(name: str, device: str) -> None:
    """Check that a device computes in the precision asked for.

    Raises:
        RecipeError: it does not.
    """
    if name == "none":
        return
    import torch

    dtype = getattr(torch, name)
    made = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where torch has no such autocast, it warns and continues without
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
