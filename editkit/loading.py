"""Load a model on a device, and refuse weights that are no numbers before anything is computed with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from editkit.allocator import return_large_blocks
from editkit.errors import ModelError, RecipeError, one_line
from editkit.precision import autocast, require_autocast
from editkit.progress import Stage
from editkit.protocols import Adapter, Model, ModelFiles
from editkit.recipe import Compute
from editkit.scoring import require_finite_weight
from editkit.site import Tower
from editkit.smaller_batches import REMEDY, OutOfMemoryError, released


def load_model(
    adapter: Adapter,
    files: ModelFiles,
    towers: Sequence[Tower],
    *,
    device: str,
    dtype: str,
    stage: Stage,
    autocast_to: str = "none",
) -> Model:
    """Load towers of a model and check every tensor of them.

    Args:
        autocast_to: what its forward passes compute in (`Compute.autocast`).

    Raises:
        ModelError: the model cannot be loaded or does not fit the memory, or a tensor holds a NaN or an infinity.
        RecipeError: the device does not compute so.
    """
    require_autocast(autocast_to, device)
    return_large_blocks()
    with stage("loading the model", 1) as advance:
        try:
            model = released(partial(adapter.load, files, device=device, dtype=dtype, towers=towers))
        except OutOfMemoryError as error:
            raise ModelError(f"{files.source} does not fit the memory of {device}: {error.problem}", REMEDY) from None
        advance(1)
    for key, tensor in model.module.state_dict().items():
        require_finite_weight(tensor, key)
    return autocast(model, autocast_to)


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
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
