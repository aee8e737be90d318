"""Embeddings for the tests of evaluations: random, collapsed, and full of ties."""

from __future__ import annotations

import numpy as np

from editkit.evals.embeddings import Floats, TupleEmbeddings


def unit(rows: np.ndarray) -> Floats:
    """Normalise the rows of [n, D]."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def tuples(
    safe_images: Floats,
    unsafe_images: Floats,
    safe_texts: Floats,
    unsafe_texts: Floats,
    *,
    concepts: tuple[str, ...] = (),
) -> TupleEmbeddings:
    """Tuples with ids "0", "1", ..."""
    n = len(safe_images)
    ids = tuple(map(str, range(n)))
    return TupleEmbeddings(safe_images, unsafe_images, safe_texts, unsafe_texts, ids, concepts or ("any",) * n)


def noise(n: int, seed: int = 0, width: int = 64) -> TupleEmbeddings:
    """Independent random directions."""
    rng = np.random.default_rng(seed)
    return tuples(*(unit(rng.normal(size=(n, width))) for _ in range(4)))


def collapsed(n: int, seed: int = 0, width: int = 64) -> TupleEmbeddings:
    """A narrow cone for each modality."""
    rng = np.random.default_rng(seed)
    images, texts = rng.normal(size=(2, width))
    return tuples(*(unit(m + 0.01 * rng.normal(size=(n, width))) for m in (images, images, texts, texts)))


def tied(n: int, seed: int, width: int = 5, pool: int = 4) -> TupleEmbeddings:
    """Rows drawn from a few random vectors, so that many similarities tie although none is a round number."""
    rng = np.random.default_rng(seed)
    images, texts = unit(rng.normal(size=(pool, width))), unit(rng.normal(size=(pool, width)))
    return tuples(*(part[rng.integers(0, pool, n)] for part in (images, images, texts, texts)))


def similarity(left: np.ndarray, right: np.ndarray) -> np.float32:
    """One similarity, written as a loop."""
    return np.float32(sum(float(a) * float(b) for a, b in zip(left, right, strict=True)))
