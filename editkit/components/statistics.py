"""Statistics of pairs that manipulators are given: moments of a site's inputs, and of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of one site's inputs on `pairs` pairs, float64, on the CPU."""

    pairs: int
    safe: Tensor
    """[I] mean of s."""
    unsafe: Tensor
    """[I] mean of u."""
    safe_safe: Tensor | None = None
    """[I, I] Z_ss; None where only means were asked for, as the two below."""
    unsafe_unsafe: Tensor | None = None
    """[I, I] Z_uu."""
    safe_unsafe: Tensor | None = None
    """[I, I] Z_su: the mean of s u^T."""
    safe_output_norm: float = 0.0
    """Mean over pairs of ||W s||, without the bias; 0 where only means were asked for."""
    preserved: Tensor | None = None
    """[I, I] Z_pp: the mean of x x^T over the preserved items; None where there are none that the tower sees."""


@dataclass(frozen=True)
class EmbeddingMoments:
    """A tower's normalised embeddings of both sides of the calibration tuples, float64, on the CPU."""

    mean: Tensor
    """[D] over safe and unsafe samples."""
    second_moment: Tensor
    """[D, D] mean of e e^T over safe and unsafe samples."""
