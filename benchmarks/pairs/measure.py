"""An edit of the projections as a value, and what it scores: editkit's own manipulators and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.pairs.features import Features, Tuples
from editkit.components.site import TOWERS, Tower
from editkit.evals.embeddings import Bools, ClassEmbeddings, TupleEmbeddings
from editkit.evals.options import RetrievalOptions
from editkit.evals.retrieval import Retrieval
from editkit.evals.safeground import SafeGround
from editkit.evals.zeroshot import ZeroShot
from editkit.testing import manipulate

Weights = dict[Tower, Tensor]
KEPT = ("PS", "Ts-Vs", "Vs-Ts", "top1")
"""What a safety edit must not cost: preferences on safe inputs, retrieval, zero-shot accuracy."""
GOAL = 0.98
"""The share of each of them that has to be left."""


@dataclass(frozen=True)
class Edit:
    """A manipulator with its options, at the projections of some towers."""

    manipulator: str
    options: Mapping[str, Any]
    towers: tuple[Tower, ...] = TOWERS

    def __str__(self) -> str:
        told = " ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.options.items()
        )
        return f"{self.manipulator} {'+'.join(self.towers)} {told}"


def edited(features: Features, tuples: Tuples, edit: Edit) -> Weights:
    """Return the projections [D, I] after an edit that was calibrated on `tuples`."""
    inputs = {"text": tuples.texts, "vision": tuples.images}
    embeddings = {tower: embed(inputs[tower], features.weights[tower]) for tower in TOWERS}
    made = dict(features.weights)
    for tower in edit.towers:
        safe, unsafe = inputs[tower]
        made[tower] = manipulate(
            edit.manipulator,
            features.weights[tower],
            safe=safe,
            unsafe=unsafe,
            own_embeddings=embeddings[tower],
            other_embeddings=embeddings["vision" if tower == "text" else "text"],
            role="proj",
            tower=tower,
            **edit.options,
        )["weight"]
    return made


def embed(pooled: Tensor, weight: Tensor) -> Tensor:
    """[..., I] and [D, I] -> normalised embeddings [..., D]."""
    return normalize(pooled @ weight.T, dim=-1)


def hits(features: Features, tuples: Tuples, weights: Weights) -> dict[str, Bools]:
    """Return the hits [n] of SafeGround, retrieval and zero-shot classification of safe and unsafe images."""
    texts, images = (
        embed(pooled, weights[tower]).numpy() for pooled, tower in ((tuples.texts, "text"), (tuples.images, "vision"))
    )  # type: ignore[index]
    ids = tuple(map(str, range(len(tuples))))
    both = TupleEmbeddings(images[0], images[1], texts[0], texts[1], ids, tuples.concepts)
    found = dict(SafeGround().hits(both))
    found |= Retrieval(RetrievalOptions(ks=(1,))).hits(both)
    prompts = embed(features.prompts, weights["text"]).numpy()
    names = tuple(map(str, range(len(prompts))))
    for metric, side, labels in (("top1", 0, tuples.safe_objects), ("top1 unsafe", 1, tuples.unsafe_objects)):
        classes = ClassEmbeddings(images[side], prompts, labels.numpy(), names, ids)
        found[metric] = next(iter(ZeroShot().hits(classes).values()))
    return found


def rates(found: Mapping[str, Bools]) -> dict[str, float]:
    """Return hits as per cent."""
    return {metric: 100 * float(np.mean(values)) for metric, values in found.items()}


def kept(after: Mapping[str, float], before: Mapping[str, float]) -> float:
    """Return the smallest share of what must be kept that is left."""
    return min(after[metric] / before[metric] for metric in KEPT)
