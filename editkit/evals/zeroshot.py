"""Zero-shot classification: is the class whose prompt is most similar to the image the right one?

The measure of knowledge: an edit that makes a model safe by making it blind loses here. Of classes that tie, the one
with the lowest index is the answer, as argmax gives it: the answer never depends on the label.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from editkit.evals.embeddings import Bools, ClassEmbeddings, similarity_rows
from editkit.specs import Options


class ZeroShot:
    """Top-1 accuracy over C class prompts; metric `top1`."""

    name: ClassVar[str] = "zeroshot"
    data: ClassVar[Literal["tuples", "classes"]] = "classes"

    def __init__(self, options: Options | None = None) -> None:
        """There is nothing to set; the argument is what every component is called with."""

    def hits(self, embeddings: ClassEmbeddings) -> dict[str, Bools]:
        """{"top1": [n] bool}"""
        answer = np.empty(len(embeddings.images), dtype=np.int64)
        for rows, similarity in similarity_rows(embeddings.images, embeddings.classes):  # [b, C]
            answer[rows] = similarity.argmax(axis=1)
        return {"top1": answer == embeddings.labels}

    def chance(self, embeddings: ClassEmbeddings) -> dict[str, dict[str, float]]:
        """Per cent of a model that knows nothing: 1 / C in both rows.

        A collapsed model answers one class for every image, and scores that class's share; over the C classes it might
        be, the shares average to 1 / C.
        """
        rate = 100.0 / len(embeddings.names)
        return {"independent": {"top1": rate}, "collapsed": {"top1": rate}}

    def groups(self, embeddings: ClassEmbeddings) -> tuple[str, ...]:
        """The name of each image's class."""
        return tuple(embeddings.names[label] for label in embeddings.labels)
