"""Measure variants of a model on tuples: all are embedded in one pass, then each evaluation turns them into hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from editkit.data.digests import content_number, image_digests
from editkit.data.tuples import Item, LeftOut, TupleSet, refuse_if_most_are_missing
from editkit.evals.context import EvaluationContext
from editkit.evals.embeddings import Bools, Integers, TupleEmbeddings
from editkit.evals.encoder import Embedded, Encoder
from editkit.evals.linear_filter import FilteredBase
from editkit.evals.prepared import Prepared
from editkit.evals.report import Measured
from editkit.evals.run_classes import Seen
from editkit.evals.similarities import SimilarityFile, similarity_file
from editkit.models.batches import pass_over, refuse_unreadable
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts


@dataclass(frozen=True)
class EmbeddedTuples:
    """Tuples embedded by each of several models: images and texts as [2, N, D], the safe side first.

    `kept` are the n of N whose images could be read; `hashes` those of all images, safe ones and unsafe ones.
    """

    facts: DataFacts
    items: Sequence[Item]
    kept: Sequence[int]
    left_out: tuple[LeftOut, ...]
    images: Mapping[str, Embedded]
    texts: Mapping[str, Embedded]
    hashes: Sequence[Sequence[str | None]]

    def of(self, model: str) -> TupleEmbeddings:
        """Return one model's embeddings of the n tuples."""
        pictures, captions = (found[model].values[:, list(self.kept)] for found in (self.images, self.texts))
        ids, concepts = zip(*((self.items[place].id, self.items[place].concept) for place in self.kept), strict=True)
        return TupleEmbeddings(pictures[0], pictures[1], captions[0], captions[1], ids, concepts, self._contents)

    @cached_property
    def _contents(self) -> Integers:
        """[n, 4]: the numbers of what each tuple consists of, images first, the safe side first."""
        captions = [[item.safe_text for item in self.items], [item.unsafe_text for item in self.items]]
        columns = [*self.hashes, *captions]
        numbers = [[content_number(column[place] or "") for place in self.kept] for column in columns]
        return np.array(numbers, dtype=np.int64).T

    @property
    def seen(self) -> Seen:
        """The images, for sets of labelled ones that have some of them."""
        places = {self.hashes[side][i]: side * len(self.items) + i for side in (0, 1) for i in self.kept}
        return Seen(self.images, places)


def embed_tuples(
    data: TupleSet,
    variants: Sequence[Variant],
    encoder: Encoder,
    digests: dict[str, str],
    *,
    skip_unreadable: bool = False,
) -> EmbeddedTuples:
    """Embed tuples with every variant.

    Args:
        digests: of image files by path; filled up.

    Raises:
        EditkitError: the model or an image cannot be used.
    """
    items = data.items
    facts = DataFacts(name=f"{data.name}/{data.split}", fingerprint=data.fingerprint(digests), n=len(items))
    safe, unsafe = ([getattr(item, f"{side}_image") for item in items] for side in ("safe", "unsafe"))
    hashes = [image_digests(images, digests) for images in (safe, unsafe)]
    texts = encoder.texts(variants, [(item.safe_text or "", item.unsafe_text or "") for item in items])
    images = encoder.images(
        variants,
        list(zip(safe, unsafe, strict=True)),
        list(zip(*hashes, strict=True)),
        pass_over if skip_unreadable else refuse_unreadable,
    )
    bad = images[variants[0].name].unreadable
    left_out = data.left_out + tuple(LeftOut(items[place].id, reason) for place, reason in sorted(bad.items()))
    refuse_if_most_are_missing(data.name, left_out, len(items) + len(data.left_out), "Check the image files.")
    kept = [place for place in range(len(items)) if place not in bad]
    facts["n"] = len(kept)
    return EmbeddedTuples(facts, items, kept, left_out, images, texts, hashes)


def embed(context: EvaluationContext, data: TupleSet, variants: Sequence[Variant] | None = None) -> EmbeddedTuples:
    """Embed tuples as an evaluation does, with `variants`; None: with all of its own.

    Raises:
        EditkitError: the model or an image cannot be used.
    """
    everyone, skip = context.variants if variants is None else variants, context.recipe.skips_bad_items
    return embed_tuples(data, everyone, context.encoder, context.digests, skip_unreadable=skip)


def measure_tuples(
    tuples: EmbeddedTuples,
    evaluations: Sequence[Prepared],
    variants: Sequence[Variant],
    similarities: Path | None = None,
    fitted: FilteredBase | None = None,
) -> list[Measured]:
    """Return what each evaluation measured of every variant, and of the base with what a filter flags hidden.

    Args:
        similarities: a new Parquet file, a row for each tuple and variant, by the first evaluation.
    """
    hits: list[dict[str, Mapping[str, Bools]]] = [{} for _ in evaluations]
    with _file(similarities, evaluations[0], tuples) as file:
        for variant in variants:
            embeddings = tuples.of(variant.name)
            for found, prepared in zip(hits, evaluations, strict=True):
                found[variant.name] = prepared.evaluation.hits(embeddings)
            if file is not None and variant.is_shown:
                columns = evaluations[0].evaluation.columns(embeddings) if evaluations[0].spec.columns else {}
                file.write(variant, embeddings, {**hits[0][variant.name], **columns})
    if fitted is not None:
        hidden = fitted.hide(tuples.of(fitted.base))
        for found, prepared in zip(hits, evaluations, strict=True):
            found[fitted.name] = prepared.evaluation.hits(hidden)
    # of the data, whatever the variant
    return [_measured(tuples, prepared, found, embeddings) for prepared, found in zip(evaluations, hits, strict=True)]


def scores_of(prepared: Prepared, hits: Mapping[str, Bools]) -> frozenset[str]:
    """Name the metrics that are means of scores, where the evaluation has such."""
    return frozenset(metric for metric, one in hits.items() if prepared.spec.scores and one.dtype == np.float64)


def _measured(
    tuples: EmbeddedTuples, prepared: Prepared, hits: Mapping[str, Mapping[str, Bools]], embeddings: TupleEmbeddings
) -> Measured:
    base = next(iter(hits.values()))
    found = Measured(
        data=tuples.facts,
        hits=hits,
        chance=prepared.evaluation.chance(embeddings),
        groups=prepared.evaluation.groups(embeddings) if base else (),
        scores=scores_of(prepared, base),
        weights=prepared.evaluation.weights(embeddings) if prepared.spec.weights else {},
        left_out=tuples.left_out,
    )
    return prepared.measured(found)


def _file(
    path: Path | None, prepared: Prepared, tuples: EmbeddedTuples
) -> AbstractContextManager[SimilarityFile | None]:
    facts = tuples.facts
    about = {"evaluation": prepared.spec.name, "data": facts["name"], "fingerprint": facts["fingerprint"]}
    return nullcontext() if path is None else similarity_file(path, about)
