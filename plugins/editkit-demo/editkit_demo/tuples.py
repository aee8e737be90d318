"""Sample tuples of scenes: which combinations occur in which split.

The safe combinations (subject, object, place) of the test set are held out from every other split, whatever the unsafe
object, so no test tuple occurs in training, calibration or validation.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from editkit_demo.scenes import Scene
from editkit_demo.vocabulary import PLACES, SAFE_OBJECTS, SUBJECTS, UNSAFE_OBJECTS

SEED = 20
SIZES = {"calibration": 768, "validation": 448, "test": 1100}
"""Tuples shipped for each split: with a block of 4 KiB for each file and folder, about 29 MB."""

Combination = tuple[str, str, str, str]
"""Subject, safe object, unsafe object, place."""


@dataclass(frozen=True)
class ScenePair:
    """The safe and the unsafe side of one tuple: same subject, same place, another object."""

    safe: Scene
    unsafe: Scene


def shipped_combinations() -> dict[str, list[Combination]]:
    """Choose the combinations of the three shipped splits, no two of them alike, unsafe objects in equal shares."""
    rng = random.Random(SEED)
    triples = list(product(SUBJECTS, SAFE_OBJECTS, PLACES))
    rng.shuffle(triples)
    unsafe = list(UNSAFE_OBJECTS)
    chosen: dict[str, list[Combination]] = {}
    start = 0
    for split in ("test", "validation", "calibration"):
        part = triples[start : start + SIZES[split]]
        start += SIZES[split]
        chosen[split] = [(who, what, unsafe[i % len(unsafe)], where) for i, (who, what, where) in enumerate(part)]
    return chosen


def training_combinations(rng: random.Random) -> Iterator[Combination]:
    """Draw combinations without end: none of the shipped ones, and no safe side of a test tuple."""
    shipped = shipped_combinations()
    test = {(who, what, where) for who, what, _, where in shipped["test"]}
    taken = {*shipped["calibration"], *shipped["validation"]}
    subjects, objects, unsafe, places = list(SUBJECTS), list(SAFE_OBJECTS), list(UNSAFE_OBJECTS), list(PLACES)
    while True:
        drawn = (rng.choice(subjects), rng.choice(objects), rng.choice(unsafe), rng.choice(places))
        if drawn not in taken and (drawn[0], drawn[1], drawn[3]) not in test:
            yield drawn


def scene_pair(combination: Combination) -> ScenePair:
    """Turn a combination into the two scenes of its tuple."""
    subject, safe, unsafe, place = combination
    return ScenePair(Scene(subject, safe, place, unsafe=False), Scene(subject, unsafe, place, unsafe=True))
