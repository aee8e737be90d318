"""Every scorer of pooled inputs, and their equations as float64 loops over single tokens."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from naive import Array, float64

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("wanda", {"side": "unsafe"}),
    ("wanda", {"side": "safe"}),
    ("multiflow", {"side": "unsafe"}),
    ("multiflow", {"side": "safe"}),
    ("wanda-ratio", {}),
    ("neuron-ratio", {"importance": "mean"}),
    ("neuron-ratio", {"importance": "rms"}),
    ("neuron-ratio", {"importance": "std"}),
]
RATIOS = METHODS[4:]


def _parametrize(methods: list[tuple[str, dict[str, Any]]]) -> Any:
    ids = ["-".join((name, *options.values())) for name, options in methods]
    return pytest.mark.parametrize(("name", "options"), methods, ids=ids)


EVERY_POOLED = _parametrize(METHODS)
EVERY_RATIO = _parametrize(RATIOS)


def pool(x: Array, mask: Array, i: int) -> list[float]:
    """Every real value of channel i, of all samples."""
    return [float(x[b, t, i]) for b in range(x.shape[0]) for t in range(x.shape[1]) if mask[b, t]]


def importance_of(values: list[float], kind: str) -> float:
    """`norm`, `mean`, `rms` or `std` of one channel's real values."""
    if not values or (kind == "std" and all(value == values[0] for value in values)):
        return 0.0
    if kind == "mean":
        return sum(abs(value) for value in values) / len(values)
    if kind == "std":
        mean = sum(values) / len(values)
        return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    total = sum(value**2 for value in values)
    return sqrt(total) if kind == "norm" else sqrt(total / len(values))


def naive_score(
    name: str,
    weight: Any,
    safe: Any,
    safe_mask: Any,
    unsafe: Any,
    unsafe_mask: Any,
    *,
    side: str = "unsafe",
    importance: str = "mean",
) -> Array:
    """[O, I]: `wanda`, `wanda-ratio`, `multiflow` or `neuron-ratio`."""
    w, result = float64(weight), np.zeros(tuple(weight.shape))
    outputs, inputs = w.shape
    kind = importance if name == "neuron-ratio" else "norm"
    of_safe = [importance_of(pool(float64(safe), safe_mask, i), kind) for i in range(inputs)]
    of_unsafe = [importance_of(pool(float64(unsafe), unsafe_mask, i), kind) for i in range(inputs)]
    z = of_safe if side == "safe" else of_unsafe
    for o in range(outputs):
        row = sum(z[k] * abs(w[o, k]) for k in range(inputs)) / inputs
        for i in range(inputs):
            column = z[i] * sum(abs(w[k, i]) for k in range(outputs)) / outputs
            ratio = of_unsafe[i] / of_safe[i] if of_safe[i] > 0 else 0.0
            result[o, i] = {
                "wanda": abs(w[o, i]) * z[i],
                "multiflow": row * column * abs(w[o, i]),
                "wanda-ratio": abs(w[o, i]) * ratio,
                "neuron-ratio": ratio if np.any(w[o]) else 0.0,
            }[name]
    return result
