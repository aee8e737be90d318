"""The embeddings an evaluation reads, and the one definition of a similarity.

A similarity is the float64 dot product of two float32 unit vectors, rounded to float32. Products of float32 are exact
in float64, so after the rounding two equal items tie whatever the order of summation was: an evaluation in which ties
decide must not depend on which kernel of the linear algebra library computed which column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from editkit.errors import DataError, ModelError

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

MODALITIES = {"text": ("safe_texts", "unsafe_texts"), "image": ("safe_images", "unsafe_images")}
"""The sides of a tuple by modality, the safe one first."""

_LENGTH_TOLERANCE = 1e-3  # a vector normalised in half precision is within 5e-4 of unit length
_CHUNK_ELEMENTS = 1 << 21  # similarities held at once: 16 MiB of float64, however many items there are


@dataclass(frozen=True)
class TupleEmbeddings:
    """Embeddings of n tuples: four `[n, D]` float32 matrices of unit vectors, row i being tuple `ids[i]`.

    `contents` `[n, 4]`, where it is known: equal numbers for equal images (columns safe, unsafe) and equal captions.
    `asking`: the same items as queries among their own kind, where these differ from what is found.

    Raises:
        ModelError: a NaN, an infinity or a vector that is not of unit length; the tuple is named.
        DataError: no tuples.
    """

    safe_images: Floats
    unsafe_images: Floats
    safe_texts: Floats
    unsafe_texts: Floats
    ids: tuple[str, ...]
    concepts: tuple[str, ...]
    contents: Integers | None = None
    asking: TupleEmbeddings | None = None

    def __post_init__(self) -> None:
        n, width = len(self.ids), self.safe_images.shape[-1]
        if len(self.concepts) != n:
            raise DataError(f"{n} tuples came with {len(self.concepts)} concepts", "Give one concept per tuple.")
        for part in ("safe_images", "unsafe_images", "safe_texts", "unsafe_texts"):
            what = part.removesuffix("s").replace("_", " ")
            _check(getattr(self, part), n, width, what, lambda i: f"tuple '{self.ids[i]}'")

    def mapped(self, images: Callable[[Floats], Floats], texts: Callable[[Floats], Floats]) -> TupleEmbeddings:
        """Return the same tuples with their images, and their captions, of each side mapped: [n, D] -> [n, D']."""
        return replace(
            self,
            safe_images=images(self.safe_images),
            unsafe_images=images(self.unsafe_images),
            safe_texts=texts(self.safe_texts),
            unsafe_texts=texts(self.unsafe_texts),
        )


@dataclass(frozen=True)
class QueryEmbeddings:
    """Embeddings of n queries of one kind and modality `[n, D]`, float32 unit vectors, and the tuples they search.

    `contents` `[n]`: the number of each one's content, equal to that of an equal item of the gallery.

    Raises:
        ModelError: a NaN, an infinity or a vector that is not of unit length; the query is named.
        DataError: no queries.
    """

    queries: Floats
    contents: Integers
    kind: Literal["safe", "neutral", "unsafe"]
    modality: Literal["text", "image"]
    ids: tuple[str, ...]
    gallery: TupleEmbeddings

    def __post_init__(self) -> None:
        width = self.gallery.safe_images.shape[-1]
        _check(self.queries, len(self.ids), width, self.modality, lambda i: f"query '{self.ids[i]}'")


@dataclass(frozen=True)
class ClassEmbeddings:
    """Embeddings of n labelled images `[n, D]` and of C class prompts `[C, D]`, float32 unit vectors.

    `labels` `[n]` are indices into `names`; `ids` name the images.

    Raises:
        ModelError: a NaN, an infinity or a vector that is not of unit length; the image or class is named.
        DataError: no images, or a label that names no class.
    """

    images: Floats
    classes: Floats
    labels: Integers
    names: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        n, count, width = len(self.ids), len(self.names), self.classes.shape[-1]
        _check(self.images, n, width, "image", lambda i: f"'{self.ids[i]}'")
        _check(self.classes, count, width, "prompt", lambda i: f"class '{self.names[i]}'")
        if self.labels.shape != (n,):
            raise DataError(f"{n} images came with labels of shape {self.labels.shape}", "Give one label per image.")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= count))
        if wrong.size:
            first = int(wrong[0])
            raise DataError(
                f"image '{self.ids[first]}' has label {int(self.labels[first])}, but there are {count} classes",
                "Labels count from 0 in the order of the class list.",
            )


def paired_similarities(left: Floats, right: Floats) -> Floats:
    """[n, D] and [n, D] -> [n] float32: the similarity of row i with row i."""
    out = np.empty(len(left), dtype=np.float32)
    for rows in chunks(len(left), left.shape[1]):
        out[rows] = (left[rows].astype(np.float64) * right[rows]).sum(axis=1)
    return out


@dataclass(frozen=True)
class Similarities:
    """The four similarities of each tuple, `[n]` float32: safe or unsafe image, then safe or unsafe caption."""

    ss: Floats
    su: Floats
    us: Floats
    uu: Floats


def similarities_of(e: TupleEmbeddings) -> Similarities:
    """Return each tuple's own similarities, from row-wise products: nothing is n x n."""
    return Similarities(
        ss=paired_similarities(e.safe_images, e.safe_texts),
        su=paired_similarities(e.safe_images, e.unsafe_texts),
        us=paired_similarities(e.unsafe_images, e.safe_texts),
        uu=paired_similarities(e.unsafe_images, e.unsafe_texts),
    )


def similarity_rows(queries: Floats, gallery: Floats) -> Iterator[tuple[slice, Floats]]:
    """[n, D] and [m, D] -> (rows, [len(rows), m] float32) until every query was seen; memory is linear in n + m."""
    columns = gallery.T.astype(np.float64)  # [D, m]
    for rows in chunks(len(queries), len(gallery)):
        yield rows, (queries[rows].astype(np.float64) @ columns).astype(np.float32)


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices that cut `rows` rows of `width` elements into pieces of bounded size."""
    step = max(1, _CHUNK_ELEMENTS // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _check(matrix: Floats, rows: int, width: int, what: str, owner: Callable[[int], str]) -> None:
    if rows == 0:
        raise DataError("there is nothing to evaluate: 0 items are left", "Check --limit, --concepts and the data set.")
    if matrix.dtype != np.float32 or matrix.shape != (rows, width):
        raise ModelError(
            f"the {what} embeddings are {matrix.dtype} {matrix.shape}, not float32 {(rows, width)}",
            "The adapter must return one float32 row per item, all of one width.",
        )
    length = np.sqrt(np.einsum("nd,nd->n", matrix, matrix, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(length - 1) <= _LENGTH_TOLERANCE))  # a NaN fails every comparison
    if wrong.size:
        first = int(wrong[0])
        state = f"length {length[first]:.3g}" if np.isfinite(length[first]) else "a NaN or an infinity"
        raise ModelError(
            f"the {what} embedding of {owner(first)} has {state} ({wrong.size} of {rows} rows are not unit vectors)",
            "The model is damaged or overflows in this dtype: try --dtype float32, or check the weights.",
        )
