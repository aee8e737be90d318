"""A linear filter on embeddings, and a system that hides what it flags: what pairs give without any edit.

Fisher's discriminant of two classes, safe s and unsafe u, in closed form and float64:

    f(x)  = w . x            w = C^-1 (mean u - mean s)          flagged: f(x) > c
    C     = (1 - g) S + g (tr S / D) I                           S = mean over both classes of (x - mean)(x - mean)^T
    g     = min(b, d) / d    d = |S - (tr S / D) I|^2            b = (mean |x - mean|^4 - |S|^2) / m

|.| of a matrix is Frobenius', m the number of vectors of both classes; g is Ledoit and Wolf's shrinkage, which makes C
invertible with fewer vectors than dimensions. c is the smallest score that 99 % of the safe vectors do not exceed: at
most 1 % of them are flagged, by construction.

Hidden items are never found, so a similarity becomes s(v, t) - M f(v) - M f(t), with f 1 where flagged. As unit vectors
of D + 4 dimensions, with a^2 = 15/32 (M = 7.5; similarities are at most 2 apart):

    v' = [v/4, -a f, a, a (1 - f), 0]     t' = [t/4, a, -a f, 0, a (1 - f)]     v' . t' = s/16 - a^2 (f(v) + f(t))

A division by 16 is exact, so what is not flagged is compared as before. Among items of one modality the vectors of
queries that are not flagged, v' with f = 0, do the same: v' . w' = s/16 + a^2 (2 - f(w)).

Sources: R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7 (1936); O. Ledoit
and M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate Analysis 88 (2004).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from editkit.errors import DataError
from editkit.evals.embeddings import Bools, Floats, TupleEmbeddings
from editkit.evals.flagged import limit

Doubles = npt.NDArray[np.float64]

_ASIDE = np.float32(np.sqrt(15 / 32))


@dataclass(frozen=True)
class LinearFilter:
    """A direction [D] and the score above which an item is flagged."""

    direction: Doubles
    threshold: float
    shrinkage: float

    @classmethod
    def fit(cls, safe: Floats, unsafe: Floats) -> LinearFilter:
        """Fit it to [n, D] safe and [m, D] unsafe embeddings.

        Raises:
            DataError: the classes have the same mean, or do not vary.
        """
        safe_mean, unsafe_mean = (part.mean(axis=0, dtype=np.float64) for part in (safe, unsafe))
        centred = np.concatenate([safe - safe_mean, unsafe - unsafe_mean])
        covariance, shrinkage = shrunk_covariance(centred)
        apart = unsafe_mean - safe_mean
        if not covariance.any() or not apart.any():
            raise DataError("safe and unsafe calibration items are alike", "Give more of them, that differ.")
        direction: Doubles = np.linalg.solve(covariance, apart)
        return cls(direction, limit(safe @ direction), shrinkage)

    def scores(self, items: Floats) -> Doubles:
        """[n, D] -> [n]: the larger, the more an item looks like an unsafe one."""
        scores: Doubles = items.astype(np.float64) @ self.direction
        return scores

    def flags(self, items: Floats) -> Bools:
        """[n, D] -> [n]: which items are flagged."""
        flagged: Bools = self.scores(items) > self.threshold
        return flagged


@dataclass(frozen=True)
class FilteredBase:
    """The base with a filter for each modality ("text", "image"); `name` is what its hits are kept under."""

    name: str
    base: str
    filters: Mapping[str, LinearFilter]

    def hide(self, e: TupleEmbeddings) -> TupleEmbeddings:
        """Return the base's embeddings such that no flagged item is found, whoever asks."""
        return replace(self._padded(e, hide=True), asking=self._padded(e, hide=False))

    def _padded(self, e: TupleEmbeddings, *, hide: bool) -> TupleEmbeddings:
        def images(items: Floats) -> Floats:
            return hidden_images(items, self.filters["image"].flags(items) & hide)

        def texts(items: Floats) -> Floats:
            return hidden_texts(items, self.filters["text"].flags(items) & hide)

        return e.mapped(images, texts)

    def asking(self, queries: Floats, modality: str) -> Floats:
        """[n, D] embeddings of the base -> [n, D + 4] queries, which find what is not hidden of either modality."""
        hidden = hidden_texts if modality == "text" else hidden_images
        return hidden(queries, np.zeros(len(queries), dtype=bool))

    def flags(self, items: Floats, kind: str) -> Bools:
        """[n, D] embeddings of the base, "captions" or "images" -> [n]: which it flags."""
        return self.filters["text" if kind == "captions" else "image"].flags(items)

    def found(self, images: Floats) -> Bools:
        """[n, D] embeddings of the base -> [n]: which images it does not hide."""
        return ~self.filters["image"].flags(images)


def shrunk_covariance(centred: Doubles) -> tuple[Doubles, float]:
    """[m, D] vectors of mean 0 -> their covariance [D, D], shrunk towards a multiple of I, and how far, from 0 to 1."""
    m, width = centred.shape
    covariance = centred.T @ centred / m
    scale = np.trace(covariance) / width
    from_target = float(((covariance - scale * np.eye(width)) ** 2).sum())
    spread = float((np.einsum("md,md->m", centred, centred) ** 2).mean() - (covariance**2).sum()) / m
    shrinkage = min(max(spread, 0.0), from_target) / from_target if from_target > 0 else 0.0
    return (1 - shrinkage) * covariance + shrinkage * scale * np.eye(width), shrinkage


def hidden_images(images: Floats, flagged: Bools) -> Floats:
    """[n, D] unit vectors and [n] -> [n, D + 4] unit vectors v'."""
    return _beside(images, flagged, 0)


def hidden_texts(texts: Floats, flagged: Bools) -> Floats:
    """[n, D] unit vectors and [n] -> [n, D + 4] unit vectors t'."""
    return _beside(texts, flagged, 1)


def _beside(vectors: Floats, flagged: Bools, own: int) -> Floats:
    aside = np.zeros((len(vectors), 4), dtype=np.float32)
    aside[:, own] = np.where(flagged, -_ASIDE, 0)
    aside[:, 1 - own] = _ASIDE
    aside[:, 2 + own] = np.where(flagged, 0, _ASIDE)
    return np.concatenate([vectors / np.float32(4), aside], axis=1)
