"""Load a model on a device, and refuse weights that are no numbers before anything is computed with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from editkit.errors import RecipeError
from editkit.progress import Stage
from editkit.protocols import Adapter, Model, ModelFiles
from editkit.scoring import require_finite_weight
from editkit.site import Tower


def load_model(
    adapter: Adapter, files: ModelFiles, towers: Sequence[Tower], *, device: str, dtype: str, stage: Stage
) -> Model:
    """Load towers of a model and check every tensor of them.

    Raises:
        ModelError: the model cannot be loaded, or a tensor holds a NaN or an infinity; it is named.
    """
    with stage("loading the model", 1) as advance:
        model = adapter.load(files, device=device, dtype=dtype, towers=towers)
        advance(1)
    for key, tensor in model.module.state_dict().items():
        require_finite_weight(tensor, key)
    return model


def resolve_device(name: str) -> str:
    """Return the torch device for `auto`, or the one named.

    Raises:
        RecipeError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"Device '{name}' cannot be used here.", "Choose --device auto, cpu, cuda or mps.") from error
    return name
