"""Measure variants of a model on a set of labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from editkit.data.classes import ClassSet
from editkit.data.digests import image_digests
from editkit.data.tuples import LeftOut, refuse_if_most_are_missing
from editkit.evals.embeddings import Bools, ClassEmbeddings, Floats
from editkit.evals.encoder import Embedded, Encoder
from editkit.evals.linear_filter import FilteredBase
from editkit.evals.prepared import Prepared
from editkit.evals.report import Measured
from editkit.models.batches import pass_over, refuse_unreadable
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts

PROMPTS_AT_ONCE = 1 << 14  # embeddings of prompts held at once, before an ensemble's mean is taken: 50 MB a model


@dataclass(frozen=True)
class Seen:
    """Images that are embedded already, as [k, n, D] by variant, and their places in [k * n] by digest."""

    images: Mapping[str, Embedded]
    places: Mapping[str | None, int]


NOTHING_SEEN = Seen({}, {})


def measure_classes(
    prepared: Prepared,
    data: ClassSet,
    variants: Sequence[Variant],
    encoder: Encoder,
    seen: Seen = NOTHING_SEEN,
    *,
    skip_unreadable: bool,
    fitted: FilteredBase | None = None,
) -> Measured:
    """Measure variants on one set; an image that occurs several times, or in `seen`, is embedded once.

    An image that a filter hides is missed by the base with this filter.

    Raises:
        EditkitError: the model or an image cannot be used.
    """
    hashes = image_digests(data.images)
    new: dict[str | None, int] = {}  # digest -> where its first image is
    for index, digest in enumerate(hashes):
        if digest not in seen.places:
            new.setdefault(digest, index)
    prompts = class_embeddings(data, variants, encoder)
    images: Mapping[str, Embedded] = {}
    bad: dict[str | None, str] = {}
    if new:
        groups = [(data.images[index],) for index in new.values()]
        sink = pass_over if skip_unreadable else refuse_unreadable
        images = encoder.images(variants, groups, [(digest,) for digest in new], sink)
        digests = list(new)
        bad = {digests[group]: reason for group, reason in images[variants[0].name].unreadable.items()}
    unreadable = tuple(LeftOut(data.ids[i], bad[digest]) for i, digest in enumerate(hashes) if digest in bad)
    left_out = data.left_out + unreadable
    refuse_if_most_are_missing(data.name, left_out, len(hashes) + len(data.left_out), "Check the image files.")
    kept = [index for index, digest in enumerate(hashes) if digest not in bad]
    places = {digest: place for place, digest in enumerate(new)}
    rows = [places[hashes[i]] if hashes[i] in places else len(new) + seen.places[hashes[i]] for i in kept]
    labels = np.array([data.labels[i] for i in kept], dtype=np.int64)
    ids = tuple(data.ids[i] for i in kept)
    hits: dict[str, Mapping[str, Bools]] = {}
    evaluation = prepared.evaluation
    for variant in variants:
        embedded = [of[variant.name].values for of in (images, seen.images) if of]
        together = np.concatenate([values.reshape(-1, values.shape[-1]) for values in embedded])  # [n, D]
        embeddings = ClassEmbeddings(together[rows], prompts[variant.name], labels, data.classes, ids)
        hits[variant.name] = evaluation.hits(embeddings)
        if fitted is not None and variant.name == fitted.base:
            shown = fitted.found(embeddings.images)
            hits[fitted.name] = {metric: hit & shown for metric, hit in hits[variant.name].items()}
    found = Measured(
        data=DataFacts(name=data.name, fingerprint=data.fingerprint_with(hashes), n=len(kept)),
        hits=hits,
        chance=evaluation.chance(embeddings),
        groups=evaluation.groups(embeddings),
        weights=evaluation.weights(embeddings) if prepared.spec.weights else {},
        same=np.unique(np.stack([rows, labels]), axis=1, return_inverse=True)[1].reshape(-1),
        left_out=left_out,
        warnings=data.warnings,
    )
    return prepared.measured(found)


def class_embeddings(data: ClassSet, variants: Sequence[Variant], encoder: Encoder) -> dict[str, Floats]:
    """[C, D] for each variant: a class is the normalised mean of its prompts' normalised embeddings.

    Source: A. Radford et al., Learning transferable visual models from natural language supervision (2021), 3.1.4.
    """
    prompts, k = data.prompts(), len(data.templates)
    step = k * max(1, PROMPTS_AT_ONCE // k)  # whole classes
    parts: dict[str, list[Floats]] = {variant.name: [] for variant in variants}
    for start in range(0, len(prompts), step):
        groups = [(prompt,) for prompt in prompts[start : start + step]]
        for name, embedded in encoder.texts(variants, groups).items():
            rows = embedded.values[0]  # [c * k, D]
            parts[name].append(rows if k == 1 else _normalised_mean(rows.reshape(-1, k, rows.shape[-1])))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _normalised_mean(values: Floats) -> Floats:
    """[c, k, D] -> [c, D]; in float64, so that k does not matter to the rounding."""
    mean = values.mean(axis=1, dtype=np.float64)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(mean / length, dtype=np.float32)
