"""Compose scenes: a subject, one to three objects and a place, as an image of 60 x 60 pixels.

Everything here is a function of its arguments and of the random generator handed in.
"""

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from editkit_demo.places import PLACES, RGB
from editkit_demo.vocabulary import (
    OBJECTS,
    SUBJECTS,
)

SIDE = 60  # pixels
JPEG_QUALITY = 88
DARK = (0.74, 0.50, 0.47)
"""Factors of red, green and blue in the dark, reddish light."""

# By how many objects there are: their sizes, and the corners they may be drawn at, in pixels.
SIZES = {1: (24, 29), 2: (20, 24), 3: (18, 20)}
CORNERS = {
    1: (((26, 33), (26, 32)),),
    2: (((22, 24), (34, 38)), ((39, 41), (26, 38))),
    3: (((21, 23), (38, 41)), ((40, 42), (38, 41)), ((32, 39), (18, 21))),
}

Art = dict[str, list[Image.Image]]
"""Short name of an emoji to its drawings: RGBA, 64 x 64 pixels, one for each style."""

Identity = tuple[str, frozenset[str], str]
"""Subject, objects and place."""


@dataclass(frozen=True)
class Scene:
    """One side of a tuple: what is seen, what it is an example of, and in which light."""

    subject: str
    main: str
    """The object that the tuple is about."""
    others: tuple[str, ...]
    """Harmless objects beside it, which both sides of a tuple have."""
    place: str
    concept: str = ""
    """Of an unsafe scene."""
    dark: bool = False
    violent: bool = False
    """Whether captions that describe the subject by an adjective do so in violent words."""

    @property
    def objects(self) -> tuple[str, ...]:
        """All of them, the main one first."""
        return (self.main, *self.others)

    @property
    def identity(self) -> Identity:
        """What makes it this scene, however it is drawn and told."""
        return self.subject, frozenset(self.objects), self.place


@dataclass(frozen=True)
class Pair:
    """The safe and the unsafe side of one tuple."""

    safe: Scene
    unsafe: Scene


def load_art(node_modules: Path) -> Art:
    """Read the drawings of the vocabulary from the two unpacked npm packages below `node_modules`."""
    wanted = {thing.art for things in (SUBJECTS, OBJECTS, PLACES) for thing in things.values()}
    art: Art = {name: [] for name in sorted(wanted)}
    for style in ("google", "twitter"):
        package = node_modules / f"emoji-datasource-{style}"
        for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
            if emoji["short_name"] in art:
                with Image.open(package / "img" / style / "64" / emoji["image"]) as drawing:
                    art[emoji["short_name"]].append(drawing.convert("RGBA").resize((64, 64)))
    incomplete = [name for name, drawings in art.items() if len(drawings) != 2]
    if incomplete:
        raise ValueError(f"expected a Google and a Twitter drawing for every name, not found for {incomplete}")
    return art


def compose(scene: Scene, art: Art, rng: random.Random) -> Image.Image:
    """Draw a scene, RGB, 60 x 60 pixels: the place behind, the subject to one side, the objects to the other."""
    place = PLACES[scene.place]
    horizon = rng.randint(22, 30)
    image = Image.new("RGB", (SIDE, SIDE), _jitter(place.sky, rng))
    image.paste(_jitter(place.ground, rng), (0, horizon, SIDE, SIDE))
    _draw(image, art[place.art], (23, 27), (rng.randint(0, 34), rng.randint(0, 4)), rng)
    _draw(image, art[SUBJECTS[scene.subject].art], (22, 27), (rng.randint(0, 3), rng.randint(28, 34)), rng)
    corners = list(CORNERS[len(scene.objects)])
    rng.shuffle(corners)
    for name, (across, down) in zip(scene.objects, corners, strict=True):
        corner = (rng.randint(*across), rng.randint(*down))
        _draw(image, art[OBJECTS[name].art], SIZES[len(scene.objects)], corner, rng)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    return _light(image, scene.dark, rng)


def store(image: Image.Image) -> bytes:
    """Encode an image as the data files hold it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _draw(
    image: Image.Image, drawings: list[Image.Image], sizes: tuple[int, int], corner: tuple[int, int], rng: random.Random
) -> None:
    size = rng.randint(*sizes)
    drawing = rng.choice(drawings).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    image.paste(drawing, corner, drawing)


def _jitter(colour: RGB, rng: random.Random) -> RGB:
    red, green, blue = (min(255, max(0, channel + rng.randint(-18, 18))) for channel in colour)
    return red, green, blue


def _light(image: Image.Image, dark: bool, rng: random.Random) -> Image.Image:
    """Scale the channels: a darker, reddish light, or daylight of varying strength."""
    strength = rng.uniform(0.85, 1.1)
    table: list[int] = []
    for channel in DARK if dark else (1.0, 1.0, 1.0):
        factor = strength * channel * rng.uniform(0.94, 1.06)
        table.extend(min(255, round(level * factor)) for level in range(256))
    return image.point(table)
