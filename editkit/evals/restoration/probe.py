"""A linear probe by nested cross-validation: what a linear classifier can still read in embeddings.

Ridge regression on one column a class, y = 1 where an item is of it; a fit to the items of a set T of folds is

    W = (C + l I)^-1 K      C = mean of (x - mean x)(x - mean x)^T over T      K = mean of (x - mean x)(y - mean y)^T
    scores(x) = mean y + W^T (x - mean x)                                      l = r tr C / D,  r in `STRENGTHS`

Each of five folds is scored by a fit to the other four. r is the one with which these four predict one another best,
the largest of equals. All items of a tuple are in one fold, and every class is spread over all folds. A prediction is
the class of the largest score. The AUC is the mean over folds and classes of the share of pairs, of an item of the
class and one of another, whose scores are in the right order; ties count half.

The variance of an AUC of m and n items is at most A (1 - A) / min(m, n), so Wilson's interval of as many items as the
rarest class has is a careful one. Source: D. van Dantzig, On the consistency and the power of Wilcoxon's two sample
test, Indagationes Mathematicae 13 (1951).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from editkit.evals.embeddings import Bools, Floats, Integers
from editkit.evals.statistics import rate_of
from editkit.reports.schema import Rate

Doubles = npt.NDArray[np.float64]

FOLDS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the ridge, relative to the mean variance of a dimension."""


@dataclass(frozen=True)
class Probe:
    """Which of the n items were predicted right, in out-of-fold predictions; and the AUC, from 0 to 1."""

    hits: Bools
    auc: float
    rarest: int
    """How many items the rarest class has."""

    @property
    def auc_rate(self) -> Rate:
        """The AUC in per cent."""
        rate = rate_of(self.auc * self.rarest, self.rarest)
        rate["n"] = len(self.hits)
        return rate


def folds_of(classes: Integers, seed: int) -> Integers:
    """[n] -> [n], from 0 to `FOLDS` - 1: items of each class in turn, in a random order."""
    order = np.random.default_rng(seed).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    folds = np.empty(len(classes), dtype=np.int64)
    folds[order] = np.arange(len(classes)) % FOLDS
    return folds


def probe(items: Floats, classes: Integers, folds: Integers) -> Probe:
    """Probe [n, D] embeddings for [n] classes, numbered from 0, in [n] folds; every fold has items of two classes."""
    x, y = items.astype(np.float64), np.eye(int(classes.max()) + 1)[classes]
    parts = [_Sums.of(x[folds == fold], y[folds == fold]) for fold in range(FOLDS)]
    scores = np.empty_like(y)
    for fold in range(FOLDS):
        others = [other for other in range(FOLDS) if other != fold]
        right = np.zeros(len(STRENGTHS), dtype=np.int64)
        for held in others:
            rows = folds == held
            fitted = _fits(parts[other] for other in others if other != held)
            right += [np.count_nonzero(one.scores(x[rows]).argmax(axis=1) == classes[rows]) for one in fitted]
        best = max(range(len(STRENGTHS)), key=lambda place: (right[place], STRENGTHS[place]))
        scores[folds == fold] = _fits(parts[other] for other in others)[best].scores(x[folds == fold])
    aucs = [
        auc(scores[folds == fold, one], classes[folds == fold] == one)
        for fold in range(FOLDS)
        for one in np.unique(classes[folds == fold])
    ]
    return Probe(scores.argmax(axis=1) == classes, float(np.mean(aucs)), int(np.bincount(classes).min()))


def auc(scores: Doubles, positive: Bools) -> float:
    """[n], [n] -> the share of pairs of a positive and a negative item in which the positive one scores higher."""
    negatives, positives = np.sort(scores[~positive]), scores[positive]
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / 2 / len(negatives))


@dataclass(frozen=True)
class _Fit:
    weights: Doubles
    inputs: Doubles
    outputs: Doubles

    def scores(self, x: Doubles) -> Doubles:
        scored: Doubles = self.outputs + (x - self.inputs) @ self.weights
        return scored


@dataclass(frozen=True)
class _Sums:
    """Of some items: their number and the sums of x, y, x x^T and x y^T; those of several folds add up."""

    n: int
    x: Doubles
    y: Doubles
    xx: Doubles
    xy: Doubles

    @classmethod
    def of(cls, x: Doubles, y: Doubles) -> _Sums:
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y)

    def __add__(self, other: _Sums) -> _Sums:
        sums = (mine + theirs for mine, theirs in zip(self._sums, other._sums, strict=True))
        return _Sums(self.n + other.n, *sums)

    @property
    def _sums(self) -> tuple[Doubles, ...]:
        return self.x, self.y, self.xx, self.xy


def _fits(parts: Iterable[_Sums]) -> list[_Fit]:
    """Return a fit for each of `STRENGTHS`."""
    together = reduce(lambda one, other: one + other, parts)
    x, y = together.x / together.n, together.y / together.n
    energies, directions = np.linalg.eigh(together.xx / together.n - np.outer(x, x))
    gap = directions.T @ (together.xy / together.n - np.outer(x, y))
    scale = max(float(energies.sum()) / len(energies), np.finfo(np.float64).tiny)
    return [_Fit(directions @ (gap / (energies.clip(0) + r * scale)[:, None]), x, y) for r in STRENGTHS]
