"""The paper's equations as float64 loops, one number at a time: what the fast forms are compared with."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

Array = Any
EPS = 1e-8


def float64(x: Any) -> Array:
    """A tensor or array as float64 numpy."""
    return np.asarray(x.detach().double() if hasattr(x, "detach") else x, dtype=np.float64)


def statistics(x: Array, mask: Array) -> tuple[Array, Array, Array]:
    """x [T, I], mask [T] -> L2 norm, unbiased std and mean over the tokens that count, each [I]."""
    norm, std, mean = (np.zeros(x.shape[1]) for _ in range(3))
    for i in range(x.shape[1]):
        values = [float(x[t, i]) for t in range(x.shape[0]) if mask[t]]
        if not values:
            continue
        norm[i] = sqrt(sum(value**2 for value in values))
        mean[i] = sum(values) / len(values)
        constant = len(values) < 2 or all(value == values[0] for value in values)
        std[i] = 0 if constant else sqrt(sum((value - mean[i]) ** 2 for value in values) / (len(values) - 1))
    return norm, std, mean


def saliency(weight: Array, x: Array, mask: Array) -> Array:
    """phi / s of one sample, [O, I] (Eqs. 8 and 9)."""
    z, s, _ = statistics(x, mask)
    outputs, inputs = weight.shape
    phi = np.zeros((outputs, inputs))
    for o in range(outputs):
        row = sum(z[k] * abs(weight[o, k]) for k in range(inputs)) / inputs
        for i in range(inputs):
            column = z[i] * sum(abs(weight[k, i]) for k in range(outputs)) / outputs
            phi[o, i] = row * column / (s[i] + EPS)
    return phi


def counts(safe: Array, safe_mask: Array, unsafe: Array, unsafe_mask: Array) -> Array:
    """[I] bool: the columns of one pair whose ratio is defined."""
    (z_s, s_s, _), (z_u, s_u, _) = statistics(safe, safe_mask), statistics(unsafe, unsafe_mask)
    enough = sum(map(bool, safe_mask)) >= 2 and sum(map(bool, unsafe_mask)) >= 2
    return np.array(
        [enough and z_s[i] > 0 and s_s[i] > 0 and not (s_u[i] == 0 and z_u[i] > 0) for i in range(len(z_s))]
    )


def score(
    name: str,
    weight: Any,
    safe: Any,
    safe_mask: Any,
    unsafe: Any,
    unsafe_mask: Any,
    *,
    tower: str,
    aggregation: str = "pairs",
    prior: str = "text",
) -> Array:
    """[O, I]: `uwm`, `difference` or `unsafe`, over the whole [B, O, I] tensor."""
    w, xs, xu = float64(weight), float64(safe), float64(unsafe)
    pairs = range(len(xs))
    valid = np.stack([counts(xs[b], safe_mask[b], xu[b], unsafe_mask[b]) for b in pairs])
    of_safe = np.stack([saliency(w, xs[b], safe_mask[b]) for b in pairs])
    of_unsafe = np.stack([saliency(w, xu[b], unsafe_mask[b]) for b in pairs])
    result = np.zeros_like(w)
    for o in range(w.shape[0]):
        if not np.any(w[o]):
            continue
        for i in range(w.shape[1]):
            kept = [b for b in pairs if valid[b, i]]
            if not kept:
                continue
            u = np.array([of_unsafe[b, o, i] for b in kept])
            s = np.array([of_safe[b, o, i] for b in kept])
            value = _combine(name, aggregation, u, s)
            result[o, i] = value * (abs(w[o, i]) if prior in ("both", tower) else 1)
    return result


def _combine(name: str, aggregation: str, unsafe: Array, safe: Array) -> float:
    formulas: dict[str, Callable[[], float]] = {
        "difference": lambda: unsafe.mean() - safe.mean(),
        "unsafe": lambda: unsafe.mean(),
        "uwm.pairs": lambda: (unsafe / safe).mean() if (safe > 0).all() else 0.0,
        "uwm.means": lambda: unsafe.mean() / safe.mean() if safe.mean() > 0 else 0.0,
    }
    return float(formulas[f"{name}.{aggregation}" if name == "uwm" else name]())


def ranked(scores: Any) -> list[int]:
    """Flat indices from the first to be selected to the last: high scores first, of equal ones the higher index."""
    flat = float64(scores).ravel()
    return sorted(range(len(flat)), key=lambda index: (flat[index], index), reverse=True)


def highest(scores: Any, count: int) -> Array:
    """Bool, in the shape of `scores`: the `count` first of `ranked`."""
    chosen = np.zeros(float64(scores).size, dtype=bool)
    chosen[ranked(scores)[:count]] = True
    return chosen.reshape(scores.shape)


def adaptive(scores: Any, tau: float) -> Array:
    """Bool, in the shape of `scores`: sort ascending, cumulative share of the mass, above 1 - tau (Eq. 11)."""
    flat = np.maximum(float64(scores).ravel(), 0)
    total = sum(flat.tolist())
    chosen = np.zeros(len(flat), dtype=bool)
    running = 0.0
    for index in reversed(ranked(flat)):
        running += flat[index]
        chosen[index] = flat[index] > 0 and running / total > 1 - tau
    return chosen.reshape(scores.shape)


def adaptive_signed(scores: Any, tau: float) -> Array:
    """Bool: sort ascending, cumulative sum over the signed sum, above 1 - tau, as the released code has it."""
    flat = float64(scores).ravel()
    total = sum(flat.tolist())
    chosen = np.zeros(len(flat), dtype=bool)
    running = 0.0
    for index in reversed(ranked(flat)):
        running += flat[index]
        chosen[index] = running / total > 1 - tau
    return chosen.reshape(np.shape(scores))


def relative(found: Any, expected: Any) -> float:
    """Norm of the difference over the norm."""
    a, b = float64(found), float64(expected)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
