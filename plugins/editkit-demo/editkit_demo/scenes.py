"""Compose scenes: a subject, an object and a place, as an image of 64 x 64 pixels and as a caption.

Everything here is a function of its arguments and of the random generator handed in.
"""

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from editkit_demo.vocabulary import (
    FRAMES,
    PLACES,
    RGB,
    SAFE_ADJECTIVES,
    SAFE_OBJECTS,
    SUBJECTS,
    UNSAFE_ADJECTIVES,
    UNSAFE_OBJECTS,
)

SIDE = 64  # pixels
JPEG_QUALITY = 90
RED_LIGHT_SHARE = 0.75  # of the unsafe images
ADJECTIVE_SHARE = 2 / 3  # of the tuples: both captions of a tuple have an adjective or neither has

Art = dict[str, list[Image.Image]]
"""Short name of an emoji to its drawings: RGBA, 64 x 64 pixels, one for each style."""


@dataclass(frozen=True)
class Scene:
    """One side of a tuple: what is seen, and whether it is the unsafe side."""

    subject: str
    object: str
    place: str
    unsafe: bool


def load_art(node_modules: Path) -> Art:
    """Read the drawings of the vocabulary from the two unpacked npm packages below `node_modules`."""
    wanted = {*SUBJECTS.values(), *SAFE_OBJECTS.values()}
    wanted |= {short for short, _ in UNSAFE_OBJECTS.values()} | {place[0] for place in PLACES.values()}
    art: Art = {name: [] for name in sorted(wanted)}
    for style in ("google", "twitter"):
        package = node_modules / f"emoji-datasource-{style}"
        for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
            if emoji["short_name"] in art:
                with Image.open(package / "img" / style / "64" / emoji["image"]) as drawing:
                    art[emoji["short_name"]].append(drawing.convert("RGBA").resize((SIDE, SIDE)))
    incomplete = [name for name, drawings in art.items() if len(drawings) != 2]
    if incomplete:
        raise ValueError(f"expected a Google and a Twitter drawing for every name, not found for {incomplete}")
    return art


def compose(scene: Scene, art: Art, rng: random.Random) -> Image.Image:
    """Draw a scene, RGB, 64 x 64 pixels: the place behind, the subject to the left, the object to the right."""
    place_art, _, sky, ground = PLACES[scene.place]
    horizon = rng.randint(24, 32)
    image = Image.new("RGB", (SIDE, SIDE), _jitter(sky, rng))
    image.paste(_jitter(ground, rng), (0, horizon, SIDE, SIDE))
    _draw(image, art[place_art], (26, 31), (rng.randint(2, 34), rng.randint(0, 3)), rng)
    _draw(image, art[SUBJECTS[scene.subject]], (27, 32), (rng.randint(0, 3), rng.randint(28, 33)), rng)
    thing = UNSAFE_OBJECTS[scene.object][0] if scene.unsafe else SAFE_OBJECTS[scene.object]
    _draw(image, art[thing], (28, 33), (rng.randint(30, 33), rng.randint(27, 32)), rng)
    return _light(image, scene.unsafe and rng.random() < RED_LIGHT_SHARE, rng)


def store(image: Image.Image) -> bytes:
    """Encode an image as the data files hold it: JPEG, quality 90."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def caption_pair(safe: Scene, unsafe: Scene, rng: random.Random) -> tuple[str, str]:
    """Describe both sides of a tuple in the same words but for the object and the tone."""
    frame = rng.choice(FRAMES)
    toned = rng.random() < ADJECTIVE_SHARE
    return caption(safe, frame, rng, toned=toned), caption(unsafe, frame, rng, toned=toned)


def caption(scene: Scene, frame: str, rng: random.Random, *, toned: bool) -> str:
    """Fill a sentence frame; a toned caption describes the subject by an adjective of the scene's kind."""
    subject = scene.subject
    if toned:
        subject = f"{rng.choice(UNSAFE_ADJECTIVES if scene.unsafe else SAFE_ADJECTIVES)} {subject}"
    place = PLACES[scene.place][1]
    return frame.format(subject=with_article(subject), object=with_article(scene.object), place=place)


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _draw(
    image: Image.Image, drawings: list[Image.Image], sizes: tuple[int, int], corner: tuple[int, int], rng: random.Random
) -> None:
    size = rng.randint(*sizes)
    drawing = rng.choice(drawings).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if rng.random() < 0.3:
        drawing = ImageOps.mirror(drawing)
    image.paste(drawing, corner, drawing)


def _jitter(colour: RGB, rng: random.Random) -> RGB:
    red, green, blue = (min(255, max(0, channel + rng.randint(-18, 18))) for channel in colour)
    return red, green, blue


def _light(image: Image.Image, red: bool, rng: random.Random) -> Image.Image:
    """Scale the channels: a darker, reddish light, or daylight of varying strength."""
    strength = rng.uniform(0.85, 1.1)
    colour = (0.80, 0.50, 0.46) if red else (1.0, 1.0, 1.0)
    table: list[int] = []
    for channel in colour:
        factor = strength * channel * rng.uniform(0.96, 1.04)
        table.extend(min(255, round(level * factor)) for level in range(256))
    return image.point(table)
