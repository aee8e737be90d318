"""Measure variants of a model on queries that search the tuples: a kind and a modality at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from editkit.data.digests import content_number, image_digests
from editkit.data.queries import KINDS, QuerySet
from editkit.data.tuples import LeftOut
from editkit.evals.embeddings import Bools, Floats, QueryEmbeddings
from editkit.evals.encoder import Encoder
from editkit.evals.linear_filter import FilteredBase
from editkit.evals.prepared import Prepared
from editkit.evals.report import Measured
from editkit.evals.run_tuples import EmbeddedTuples, scores_of
from editkit.models.batches import pass_over, refuse_unreadable
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts

Modality = Literal["text", "image"]


def measure_queries(
    prepared: Prepared,
    data: QuerySet,
    tuples: EmbeddedTuples,
    variants: Sequence[Variant],
    encoder: Encoder,
    fitted: FilteredBase | None = None,
    *,
    skip_unreadable: bool = False,
) -> list[Measured]:
    """Return what the evaluation measured of the queries of each kind and modality that there are.

    Args:
        fitted: the base with what a filter flags hidden, which is measured too.

    Raises:
        DataError: a query does not say its kind.
        EditkitError: the model or an image cannot be used.
    """
    data.require_kinds()
    hashes = image_digests(data.images)
    fingerprint = data.fingerprint()
    hidden = None if fitted is None else fitted.hide(tuples.of(fitted.base))
    measured = []
    for modality in ("text", "image"):
        places = [i for i, one in enumerate(data.texts if modality == "text" else data.images) if one]
        if not places:
            continue
        embedded, bad = _embed(modality, data, places, hashes, variants, encoder, skip_unreadable)
        contents = [content_number(str(data.texts[i] if modality == "text" else hashes[i])) for i in places]
        for kind in KINDS:
            rows = [row for row, i in enumerate(places) if data.kinds[i] == kind and row not in bad]
            if not rows:
                continue
            ids = tuple(data.ids[places[row]] for row in rows)
            numbers = np.array([contents[row] for row in rows], dtype=np.int64)
            hits: dict[str, Mapping[str, Bools]] = {}
            for variant in variants:
                values = embedded[variant.name][rows]
                found = QueryEmbeddings(values, numbers, kind, modality, ids, tuples.of(variant.name))
                hits[variant.name] = prepared.evaluation.hits(found)
            if fitted is not None and hidden is not None:
                values = fitted.asking(embedded[fitted.base][rows], modality)
                asked = QueryEmbeddings(values, numbers, kind, modality, ids, hidden)
                hits[fitted.name] = prepared.evaluation.hits(asked)
            one = Measured(
                data=DataFacts(name=data.name, fingerprint=fingerprint, n=len(rows)),
                hits=hits,
                chance=prepared.evaluation.chance(found),
                scores=scores_of(prepared, hits[variants[0].name]),
                same=np.unique(numbers, return_inverse=True)[1].reshape(-1),
                named=[str(data.texts[places[row]]) for row in rows] if modality == "text" else ids,
                left_out=data.left_out + tuple(LeftOut(data.ids[places[row]], reason) for row, reason in bad.items()),
            )
            measured.append(prepared.measured(one))
    return [one for one in measured if one.hits[variants[0].name]]


def _embed(
    modality: Modality,
    data: QuerySet,
    places: Sequence[int],
    hashes: Sequence[str | None],
    variants: Sequence[Variant],
    encoder: Encoder,
    skip_unreadable: bool,
) -> tuple[dict[str, Floats], dict[int, str]]:
    """Return [n, D] by variant, and which of the n could not be decoded."""
    if modality == "text":
        texts = encoder.texts(variants, [(data.texts[i] or "",) for i in places])
        return {name: one.values[0] for name, one in texts.items()}, {}
    images = encoder.images(
        variants,
        [(image,) for i in places if (image := data.images[i]) is not None],
        [(hashes[i],) for i in places],
        pass_over if skip_unreadable else refuse_unreadable,
    )
    return {name: one.values[0] for name, one in images.items()}, images[variants[0].name].unreadable
