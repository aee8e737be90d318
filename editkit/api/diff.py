"""Compare the weights of two models, from Python, without torch."""

from __future__ import annotations

from pathlib import Path

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.files.difference import ModelDifference, compare_models
from editkit.models.find import weights_path


def diff(model_a: str | Path, model_b: str | Path, *, host: Host | None = None) -> ModelDifference:
    """Compare the weights of two models bit by bit.

    Args:
        model_a: a model folder, a safetensors file, a hub id, or a name that a plugin knows (`demo`).
        model_b: likewise.

    Raises:
        ModelError: one of them does not exist or cannot be read.

    Example:
        >>> found = diff("model", "edited")
        >>> [(entry.key, entry.count) for entry in found.differing]
    """
    found_by = host or default_host()
    return compare_models(weights_path(model_a, found_by), weights_path(model_b, found_by))
