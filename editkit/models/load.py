"""Load a model on a device, and refuse weights that are no numbers before anything is computed with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from editkit.components.guard import guarded_as
from editkit.components.protocols import Adapter, Model, ModelFiles
from editkit.components.site import Tower
from editkit.errors import ModelError
from editkit.models.autocast import autocast
from editkit.models.compute import require_autocast
from editkit.models.memory import REMEDY, OutOfMemoryError, free_on_oom, return_large_blocks
from editkit.models.site_tensors import require_finite_weight
from editkit.progress import Stage


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
            model = free_on_oom(partial(adapter.load, files, device=device, dtype=dtype, towers=towers))
        except OutOfMemoryError as error:
            raise ModelError(f"{files.source} does not fit the memory of {device}: {error.problem}", REMEDY) from None
        advance(1)
    for key, tensor in model.module.state_dict().items():
        require_finite_weight(tensor, key)
    return autocast(guarded_as(adapter, model, apart_from=("parameter",)), autocast_to)
