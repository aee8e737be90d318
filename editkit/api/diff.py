"""Compare the weights of two models, from Python, without torch."""

from __future__ import annotations

from pathlib import Path

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.files.difference import ModelDifference, compare_models
from editkit.models.find import weights_of
from editkit.progress import Stage, silent


def diff(
    model_a: str | Path, model_b: str | Path, *, host: Host | None = None, stage: Stage = silent
) -> ModelDifference:
    """Compare the weights of two models bit by bit.

    Args:
        model_a: a folder, a file of weights, a hub id, or whatever else `edit` takes.
        model_b: likewise.

    Raises:
        ModelError: one of them does not exist or cannot be read.

    Example:
        >>> found = diff("model", "edited")
        >>> [(entry.key, entry.count) for entry in found.differing]
    """
    by = host or default_host()
    a, b = (weights_of(model, by, (), stage).checkpoint for model in (model_a, model_b))
    if not set(a.tensors) & set(b.tensors):
        # a folder may hold the weights of two libraries: compare those that correspond
        b = weights_of(model_b, by, a.tensors, stage).checkpoint
        a = weights_of(model_a, by, b.tensors, stage).checkpoint
    return compare_models(a, b)
