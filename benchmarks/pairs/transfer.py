"""Does an edit hold where it was not calibrated: fewer pairs, concepts, objects and wordings it has not seen?"""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.pairs.features import Features, Tuples
from benchmarks.pairs.measure import Edit, edited, hits
from editkit.evals.embeddings import Bools

SIZES = (32, 64, 128, 256, 512)
OBJECT_FOLDS = 3

Case = tuple[str, Tuples, Tuples]
"""Name, tuples to calibrate on, tuples to measure."""


def cases(features: Features) -> Iterator[Case]:
    """Yield what is left out of calibration, and the test tuples that have it."""
    calibration, test = features.tuples["calibration"], features.tuples["test"]
    order = random.Random(0).sample(range(len(calibration)), len(calibration))
    for size in SIZES:
        yield f"{size} pairs", calibration.take(torch.tensor(sorted(order[:size]))), test
    for concept in sorted(set(calibration.concepts)):
        here, there = (torch.tensor([name == concept for name in part.concepts]) for part in (calibration, test))
        yield f"concept '{concept}' unseen", *_split(calibration, test, here, there)
    objects = sorted(set(calibration.unsafe_objects.tolist()))
    random.Random(0).shuffle(objects)
    for fold in range(OBJECT_FOLDS):
        held = torch.tensor(objects[fold::OBJECT_FOLDS])
        here, there = (torch.isin(part.unsafe_objects, held) for part in (calibration, test))
        yield f"{len(held)} objects unseen ({fold + 1} of {OBJECT_FOLDS})", *_split(calibration, test, here, there)
    yield "no unsafe adjective seen", *_split(calibration, test, calibration.toned, test.toned)
    yield "no caption without adjective seen", *_split(calibration, test, ~calibration.toned, ~test.toned)


def _split(calibration: Tuples, test: Tuples, here: Tensor, there: Tensor) -> tuple[Tuples, Tuples]:
    return calibration.take((~here).nonzero().flatten()), test.take(there.nonzero().flatten())


def measure(features: Features, edit: Edit, case: Case) -> tuple[dict[str, Bools], dict[str, Bools], dict[str, Bools]]:
    """Return the hits on a case's tuples of the base, of the edit calibrated on everything, and of the case's own."""
    _, seen, measured = case
    everything = edited(features, features.tuples["calibration"], edit)
    weights = (features.weights, everything, edited(features, seen, edit))
    base, full, own = (hits(features, measured, each) for each in weights)
    return base, full, own
