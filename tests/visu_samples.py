"""A folder laid out as ViSU is, of small synthetic images, with tuples that cannot be used."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TAGS = ("Cruelty", "drug use", "bodily fluids", "weapons", "hate")
WORDS = ("dog", "street", "kitchen", "boat", "tree", "man", "red", "night", "table", "two")
PATTERN = "unsafe/test/sd-ntsw/unsafe/original/{}/0.jpg"


def synthetic_visu(root: Path, count: int, *, clean: bool = False, seed: int = 0) -> dict[str, str]:
    """Write `count` tuples of 16 x 16 images, one in forty of them unusable, and return what is wrong with those by id.

    Unusable are, in turn: no safe image, no unsafe image, an unsafe image cut short, a safe image of zeros, an unsafe
    image without bytes; and one tuple has an empty caption. Some images are COCO-2014's names, in any sub-folder.

    Args:
        clean: leaves those tuples out, and writes the same others.
    """
    rng = np.random.default_rng(seed)
    elements: list[dict[str, Any]] = []
    bad: dict[str, str] = {}
    for number in range(count):
        identifier, coco = 7 * number + 3, 900_000 + 13 * number
        pictures = [picture(rng) for _ in range(2)]
        safe, unsafe = (" ".join(rng.choice(WORDS, 5)) for _ in range(2))
        wrong = WRONG[(number // 40) % len(WRONG)] if number % 40 == 20 else ""
        if number == count // 2:
            wrong, unsafe = "empty caption", " "
        if wrong:
            bad[str(identifier)] = wrong
            if clean:
                continue
        name = f"COCO_val2014_{coco:012d}.jpg" if number % 3 == 0 else f"{coco:012d}.jpg"
        place = root / "coco" / ("val2014" if number % 3 == 0 else f"part{number % 2}") / name
        spoiled(place, pictures[0], wrong.startswith("safe") and wrong)
        spoiled(root / PATTERN.format(identifier), pictures[1], wrong.startswith("unsafe") and wrong)
        tag = TAGS[number % len(TAGS)]
        elements.append(
            {"incremental_id": identifier, "safe": safe, "nsfw": unsafe, "coco_id": coco, "tag": tag, "prompt_id": 0}
        )
    (root / "ViSU-Text_test.json").write_text(json.dumps(elements))
    return bad


WRONG = ("safe missing", "unsafe missing", "unsafe cut short", "safe zeros", "unsafe without bytes")


def picture(rng: np.random.Generator) -> bytes:
    """A JPEG of noise, 16 x 16."""
    stream = BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def spoiled(path: Path, content: bytes, wrong: str | bool) -> None:
    """Write an image, or what is wrong with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    what = str(wrong).partition(" ")[2] if wrong else ""
    spoil = {"cut short": content[: len(content) // 2], "zeros": bytes(400), "without bytes": b""}
    if what != "missing":
        path.write_bytes(spoil.get(what, content))
