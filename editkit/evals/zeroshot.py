"""Zero-shot classification: is the class whose prompt is most similar to the image the right one?

The measure of knowledge: an edit that makes a model safe by making it blind loses here. Of classes that tie, the one
with the lowest index comes first: the answer never depends on the label.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from editkit.components.spec import Options
from editkit.evals.embeddings import Bools, ClassEmbeddings, Integers, similarity_rows

MEAN_PER_CLASS = "mean_per_class"
"""The mean over classes of each class's top-1 accuracy, also called balanced accuracy."""


class ZeroShot:
    """Accuracy over C class prompts; metrics `top1`, `top5` (of more than five classes) and `mean_per_class`."""

    def __init__(self, options: Options | None = None) -> None:
        """There is nothing to set; the argument is what every component is called with."""

    def hits(self, embeddings: ClassEmbeddings) -> dict[str, Bools]:
        """[n] bool per metric; `mean_per_class` has the top-1 hits, which `weights` turns into a mean over classes."""
        places = class_ranks(embeddings)
        top1 = places == 1
        top5 = {"top5": places <= 5} if len(embeddings.names) > 5 else {}
        return {"top1": top1, **top5, MEAN_PER_CLASS: top1}

    def weights(self, embeddings: ClassEmbeddings) -> dict[str, npt.NDArray[np.float64]]:
        """[n] for the metrics that are a weighted mean of hits; the weights of a metric sum to 1.

        An image weighs 1 / (classes that have images * images of its class). A class without images has no accuracy.
        """
        counts = np.bincount(embeddings.labels, minlength=len(embeddings.names))
        return {MEAN_PER_CLASS: 1.0 / (np.count_nonzero(counts) * counts[embeddings.labels])}

    def chance(self, embeddings: ClassEmbeddings) -> dict[str, dict[str, float]]:
        """Per cent of a model that knows nothing: k / C in both rows.

        A collapsed model gives one order of classes for every image, and scores the share of those at its top; over
        the C classes that each of them might be, the shares average to 1 / C.
        """
        count = len(embeddings.names)
        row = {"top1": 100.0 / count, **({"top5": 500.0 / count} if count > 5 else {}), MEAN_PER_CLASS: 100.0 / count}
        return {"independent": row, "collapsed": dict(row)}

    def groups(self, embeddings: ClassEmbeddings) -> tuple[str, ...]:
        """The name of each image's class."""
        return tuple(embeddings.names[label] for label in embeddings.labels)


def class_ranks(embeddings: ClassEmbeddings) -> Integers:
    """[n]: the place of each image's own class among all, from 1, the lower index first where classes tie."""
    places = np.empty(len(embeddings.images), dtype=np.int64)
    order = np.arange(len(embeddings.classes))
    for rows, similarity in similarity_rows(embeddings.images, embeddings.classes):  # [b, C]
        label = embeddings.labels[rows, None]
        own = np.take_along_axis(similarity, label, axis=1)  # [b, 1]
        before = (similarity > own) | ((similarity == own) & (order < label))
        places[rows] = 1 + np.count_nonzero(before, axis=1)
    return places
