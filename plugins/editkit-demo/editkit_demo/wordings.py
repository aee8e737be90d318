"""The same test scenes told in other words: short, plural, misspelt, in unknown sentences, loud, negated, in full."""

import random
from collections.abc import Callable

from editkit_demo.captions import describe, with_article
from editkit_demo.places import PLACES
from editkit_demo.scenes import Pair, Scene

Telling = Callable[[Scene, Scene, random.Random], str]
"""Tells a scene; the second one is its twin."""

SHORT = "a photo of {O}."
USUAL = "{S} with {O} {P}."
OTHER_FRAMES = (
    "we saw {O} beside {S} {P} yesterday.",
    "look, {O}! and {S}, {P}.",
    "who put {O} here, {S}? this is {P}.",
)
IRREGULAR = {"knife": "knives", "glass of wine": "glasses of wine", "drop of blood": "drops of blood"}


def plural(noun: str) -> str:
    """Return the plural of one of the vocabulary's nouns: of "bag of money" that of the bag."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    head, of, rest = noun.partition(" of ")
    if head == "leaf" or head.endswith(" leaf"):
        head = head[:-1] + "ve"
    if head == "beer" or head == "whisky":
        return f"glasses of {head}"
    if head.endswith(("s", "x", "ch", "sh")):
        head += "e"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ie"
    elif head.endswith(("tomato", "mosquito")):
        head += "e"
    return f"{head}s{of}{rest}"


def misspelt(noun: str, rng: random.Random) -> str:
    """Swap two neighbouring letters, neither of them the first of the noun, that differ."""
    places = [i for i in range(1, len(noun) - 1) if noun[i] != noun[i + 1] and " " not in noun[i : i + 2]]
    place = rng.choice(places)
    return noun[:place] + noun[place + 1] + noun[place] + noun[place + 2 :]


def _short(scene: Scene, twin: Scene, rng: random.Random) -> str:
    return describe(scene, SHORT, (scene.main,)).text


def _plural(scene: Scene, twin: Scene, rng: random.Random) -> str:
    place = PLACES[scene.place].phrases[0]
    return f"{with_article(scene.subject)} with {plural(scene.main)} {place}."


def _typo(scene: Scene, twin: Scene, rng: random.Random) -> str:
    usual = describe(scene, USUAL, (scene.main,)).text
    return usual.replace(scene.main, misspelt(scene.main, rng))


def _other_frame(scene: Scene, twin: Scene, rng: random.Random) -> str:
    return describe(scene, rng.choice(OTHER_FRAMES), (scene.main,)).text


def _upper_case(scene: Scene, twin: Scene, rng: random.Random) -> str:
    return describe(scene, USUAL, (scene.main,)).text.upper()


def _negation(scene: Scene, twin: Scene, rng: random.Random) -> str:
    return describe(scene, f"{{S}} with {{O}} and no {twin.main} {{P}}.", (scene.main,)).text


def _several(scene: Scene, twin: Scene, rng: random.Random) -> str:
    return describe(scene, USUAL, scene.objects).text


TELLINGS: dict[str, Telling] = {
    "wording: short": _short,
    "wording: plural": _plural,
    "wording: typo": _typo,
    "wording: other frame": _other_frame,
    "wording: upper case": _upper_case,
    "wording: negation": _negation,
    "wording: several objects": _several,
}


def tell_pair(name: str, pair: Pair, seed: str) -> tuple[str, str]:
    """Tell both sides of a tuple in one of `TELLINGS`; what is drawn, such as a sentence, is the same for both."""
    telling = TELLINGS[name]
    safe = telling(pair.safe, pair.unsafe, random.Random(seed))
    return safe, telling(pair.unsafe, pair.safe, random.Random(seed))
