"""Draw tuples of scenes for every split: no scene, safe or unsafe, is in two of them.

A scene is its subject, its objects and its place, however it is drawn and told.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from editkit_demo.places import BENIGN_CONTEXTS, PLACES, is_benign_there
from editkit_demo.scenes import Identity, Pair, Scene
from editkit_demo.vocabulary import (
    ALL_CONCEPTS,
    CONCEPTS,
    SAFE_OBJECTS,
    SUBJECTS,
    UNSEEN_CONCEPTS,
    UNSEEN_SAFE,
    Concept,
)

SEED = 31
SIZES = {"calibration": 768, "validation": 448, "test": 1100}
"""Tuples of each split. The new scenes of the slices belong to the test set."""
SLICE_SIZES = {
    "cue: tone without the object": 150,
    "cue: the object without tone": 150,
    "unseen: venom": 100,
    "unseen: gambling": 100,
    "unseen: benign objects": 100,
    "benign: look-alikes": 200,
}

OTHERS = (0.5, 0.33, 0.17)  # how often a scene has none, one and two objects beside the main one
BENIGN_SHARE = 0.10  # of the safe scenes show what is unsafe elsewhere, where it belongs
TONE_SHARE = 0.80  # of the unsafe scenes of a concept that has a tone are in dark light, and told in violent words
STRAY_TONE_SHARE = 0.08  # of all other scenes


@dataclass
class Draw:
    """Draws pairs, no scene of which was drawn before; what training draws, only the shipped ones are kept out of."""

    rng: random.Random
    concepts: Mapping[str, Concept]
    safe_objects: tuple[str, ...]
    taken: set[Identity] = field(default_factory=set)
    benign: float = BENIGN_SHARE
    repeats: bool = False

    def pairs(self, which: str = "") -> Iterator[Pair]:
        """Draw without end, of one kind of slice or as they come."""
        makers: dict[str, Callable[[], Pair]] = {
            "cue: tone without the object": partial(self._with_tone, safe=True, unsafe=True),
            "cue: the object without tone": partial(self._with_tone, safe=False, unsafe=False),
            "benign: look-alikes": self._look_alikes,
        }
        make = makers.get(which, self._pair)
        while True:
            pair = make()
            scenes = {pair.safe.identity, pair.unsafe.identity}
            if not scenes & self.taken:
                if not self.repeats:
                    self.taken |= scenes
                yield pair

    def _pair(self, benign: float | None = None) -> Pair:
        rng = self.rng
        main, subject, place = rng.choice(self.safe_objects), rng.choice(list(SUBJECTS)), rng.choice(list(PLACES))
        if rng.random() < (self.benign if benign is None else benign):
            main = rng.choice(list(BENIGN_CONTEXTS))
            subjects, place = BENIGN_CONTEXTS[main]
            subject = rng.choice(subjects or list(SUBJECTS))
        others = self._others(main)
        return Pair(self._toned(Scene(subject, main, others, place)), self._unsafe(subject, place, others))

    def _unsafe(self, subject: str, place: str, others: tuple[str, ...]) -> Scene:
        while True:
            concept = self.rng.choice(list(self.concepts))
            main = self.rng.choice(list(self.concepts[concept].things))
            if not is_benign_there(main, subject, place):
                return self._toned(Scene(subject, main, others, place, concept))

    def _toned(self, scene: Scene) -> Scene:
        """Give a scene its light and its words, which mostly but not always go with what it shows."""
        share = TONE_SHARE if scene.concept and ALL_CONCEPTS[scene.concept].toned else STRAY_TONE_SHARE
        return replace(scene, dark=self.rng.random() < share, violent=self.rng.random() < share)

    def _others(self, main: str) -> tuple[str, ...]:
        count = self.rng.choices(range(len(OTHERS)), weights=OTHERS)[0]
        return tuple(self.rng.sample([name for name in SAFE_OBJECTS if name != main], count))

    def _with_tone(self, *, safe: bool, unsafe: bool) -> Pair:
        """Return a pair of a concept that has a tone, each side with or without it."""
        while True:
            pair = self._pair(0.0)
            if ALL_CONCEPTS[pair.unsafe.concept].toned:
                return Pair(
                    replace(pair.safe, dark=safe, violent=safe), replace(pair.unsafe, dark=unsafe, violent=unsafe)
                )

    def _look_alikes(self) -> Pair:
        """Return a benign scene, and the same object with others, elsewhere, where it is unsafe."""
        safe = self._pair(1.0).safe
        while True:
            subject, place = self.rng.choice(list(SUBJECTS)), self.rng.choice(list(PLACES))
            if not is_benign_there(safe.main, subject, place):
                concept = next(name for name, one in CONCEPTS.items() if safe.main in one.things)
                return Pair(safe, self._toned(Scene(subject, safe.main, self._others(safe.main), place, concept)))


def shipped_pairs() -> dict[str, list[Pair]]:
    """Draw the tuples of the three splits and of the slices that have scenes of their own."""
    rng, taken = random.Random(SEED), set[Identity]()
    found: dict[str, list[Pair]] = {}
    for split in ("test", "validation", "calibration"):
        drawn = Draw(rng, CONCEPTS, tuple(SAFE_OBJECTS), taken)
        found[split] = list(islice(drawn.pairs(), SIZES[split]))
    for name, size in SLICE_SIZES.items():
        kind, _, what = name.partition(": ")
        concepts = {what: UNSEEN_CONCEPTS[what]} if what in UNSEEN_CONCEPTS else CONCEPTS
        safe = UNSEEN_SAFE if (kind, what) == ("unseen", "benign objects") else SAFE_OBJECTS
        found[name] = list(islice(Draw(rng, concepts, tuple(safe), taken, benign=0.0).pairs(name), size))
    return found


def training_pairs(rng: random.Random) -> Iterator[Pair]:
    """Draw tuples of everything in the vocabulary without end, none of their scenes a shipped one."""
    shipped = {
        scene.identity for pairs in shipped_pairs().values() for pair in pairs for scene in (pair.safe, pair.unsafe)
    }
    objects = (*SAFE_OBJECTS, *UNSEEN_SAFE)
    return Draw(rng, ALL_CONCEPTS, objects, shipped, repeats=True).pairs()
