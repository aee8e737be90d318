"""Describe a scene in words: what is named, by which of its names, and in which sentence.

A caption may leave things out, as captions do. `Said` keeps what it tells, so that training knows of which other images
of a batch it is true as well.
"""

import random
from dataclasses import dataclass
from typing import Literal

from editkit_demo.places import PLACES
from editkit_demo.scenes import Pair, Scene
from editkit_demo.vocabulary import (
    HINT_OF,
    HINTS,
    OBJECTS,
    SAFE_ADJECTIVES,
    SUBJECTS,
    UNSAFE_ADJECTIVES,
)

# Sentences by what they have: S, a subject with article and adjective; O, objects with articles; P, a place.
FRAMES: dict[str, tuple[str, ...]] = {
    "SOP": (
        "{S} with {O} {P}.",
        "{S} and {O} {P}.",
        "{P}, {S} with {O}.",
        "a picture of {S} with {O} {P}.",
        "{O} next to {S} {P}.",
        "{S} looks at {O} {P}.",
    ),
    "SO": ("{S} with {O}.", "{O} and {S}.", "a drawing of {S} with {O}.", "{S} next to {O}."),
    "OP": ("{O} {P}.", "{P} there is {O}.", "a picture of {O} {P}.", "somebody left {O} {P}."),
    "SP": ("{S} {P}.", "a picture of {S} {P}.", "{P} there is {S}."),
    "O": ("a photo of {O}.", "{O}.", "a picture of {O}."),
    "S": ("a photo of {S}.", "{S}."),
    "P": ("a photo taken {P}.", "a picture taken {P}."),
}


@dataclass(frozen=True)
class Form:
    """What a caption tells: the parts of its sentence, and which objects."""

    parts: str
    named: Literal["all", "main", "hint", "others", "none"]
    shipped: float
    """Share of the shipped tuples."""
    trained: float
    """Share of the training captions."""


FORMS: dict[str, Form] = {
    "everything": Form("SOP", "all", 0.10, 0.12),
    "usual": Form("SOP", "main", 0.24, 0.16),
    "subject and object": Form("SO", "main", 0.16, 0.10),
    "object and place": Form("OP", "main", 0.16, 0.08),
    "hint": Form("SOP", "hint", 0.08, 0.04),
    "others only": Form("SOP", "others", 0.06, 0.02),
    "no object": Form("SP", "none", 0.06, 0.03),
    "object": Form("O", "main", 0.14, 0.34),
    "subject": Form("S", "none", 0.00, 0.06),
    "place": Form("P", "none", 0.00, 0.05),
}
ALWAYS_TONED = ("others only", "no object")  # nothing else would tell the two captions of a tuple apart
SYNONYM_SHARE = 0.3
ADJECTIVE_SHARE = 0.6  # of the tuples: both captions describe the subject by an adjective or neither does


@dataclass(frozen=True)
class Said:
    """What a caption tells of a scene; empty: it does not say."""

    text: str
    subject: str = ""
    place: str = ""
    objects: tuple[frozenset[str], ...] = ()
    """For each object it speaks of, what that may be."""

    def is_true_of(self, scene: Scene) -> bool:
        """Whether the scene shows all that is said."""
        return (
            self.subject in ("", scene.subject)
            and self.place in ("", scene.place)
            and all(named & set(scene.objects) for named in self.objects)
        )


def caption_pair(
    pair: Pair, rng: random.Random, *, training: bool = False, form: str = "", toned: bool = False
) -> tuple[Said, Said]:
    """Describe both sides of a tuple in the same form and sentence, each in words of its own.

    Args:
        form: one of `FORMS`; empty: drawn.
        toned: always describe the subject by an adjective.
    """
    shares = [one.trained if training else one.shipped for one in FORMS.values()]
    form = form or rng.choices(list(FORMS), weights=shares)[0]
    which = FORMS[form].named
    if which == "others" and not pair.safe.others:
        which = "main"
    frame = rng.choice(FRAMES[FORMS[form].parts])
    toned = toned or form in ALWAYS_TONED or rng.random() < ADJECTIVE_SHARE
    return _side(pair.safe, frame, which, rng, toned=toned), _side(pair.unsafe, frame, which, rng, toned=toned)


def describe(scene: Scene, frame: str, named: tuple[str, ...], adjective: str = "") -> Said:
    """Fill a sentence with first names; `named` are the objects it speaks of."""
    spoken = tuple(frozenset((name,)) for name in named)
    phrases = [with_article(name) for name in named]
    return _filled(scene, frame, phrases, spoken, adjective, scene.subject, PLACES[scene.place].phrases[0])


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase; what has none is said without."""
    if noun in ("beer", "whisky", "red wine", "lightning"):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def every_phrase() -> tuple[str, ...]:
    """All that captions are made of, for the tokenizer to learn."""
    names = [name for things in (SUBJECTS, OBJECTS) for first, thing in things.items() for name in (first, *thing.also)]
    places = [phrase for place in PLACES.values() for phrase in place.phrases]
    frames = [frame for frames in FRAMES.values() for frame in frames]
    return (*names, *places, *frames, *HINTS, *SAFE_ADJECTIVES, *UNSAFE_ADJECTIVES, "a an")


def _side(scene: Scene, frame: str, which: str, rng: random.Random, *, toned: bool) -> Said:
    named: tuple[str, ...] = {"all": scene.objects, "others": scene.others, "none": ()}.get(which, (scene.main,))
    if which == "hint" and scene.main in HINT_OF:
        hint = HINT_OF[scene.main]
        phrases = [with_article(hint)]
        spoken: tuple[frozenset[str], ...] = (HINTS[hint],)
    else:
        phrases = [with_article(_one_of(name, OBJECTS[name].also, rng)) for name in named]
        spoken = tuple(frozenset((name,)) for name in named)
        order = list(range(len(named)))
        rng.shuffle(order)
        phrases = [phrases[place] for place in order]
    adjective = ""
    if toned:  # which may be all that tells the sides apart
        violent = scene.violent if spoken and which != "others" else bool(scene.concept)
        adjective = rng.choice(UNSAFE_ADJECTIVES if violent else SAFE_ADJECTIVES)
    subject = _one_of(scene.subject, SUBJECTS[scene.subject].also, rng)
    return _filled(scene, frame, phrases, spoken, adjective, subject, rng.choice(PLACES[scene.place].phrases))


def _one_of(name: str, also: tuple[str, ...], rng: random.Random) -> str:
    return rng.choice(also) if also and rng.random() < SYNONYM_SHARE else name


def _filled(
    scene: Scene,
    frame: str,
    phrases: list[str],
    spoken: tuple[frozenset[str], ...],
    adjective: str,
    subject: str,
    place: str,
) -> Said:
    who = with_article(f"{adjective} {subject}".strip())
    text = frame.format(S=who, O=_joined(phrases), P=place)
    return Said(
        text,
        scene.subject if "{S}" in frame else "",
        scene.place if "{P}" in frame else "",
        spoken if "{O}" in frame else (),
    )


def _joined(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + f" and {phrases[-1]}" if phrases else ""
