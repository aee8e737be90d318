"""Training material: rendered scenes on disk, and contrastive batches of scenes, their unsafe twins and captions."""

import io
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from editkit_demo.scenes import SIDE, Scene, caption_pair, compose, load_art, store
from editkit_demo.tuples import Combination, ScenePair, scene_pair, training_combinations
from editkit_demo.vocabulary import ALL_OBJECTS, PLACE_TEMPLATE, PLACES, SUBJECTS, TEMPLATE

_SUBJECTS, _PLACES = list(SUBJECTS), list(PLACES)
UNSAID = -1
CHUNK = 500  # tuples rendered at a time by one process

# Share of the tuples of a batch whose captions name everything, only the object, only the subject, only the place.
CAPTION_SHARES = {"all": 0.60, "object": 0.25, "subject": 0.10, "place": 0.05}


@dataclass(frozen=True)
class Batch:
    """B images with a caption each: safe and unsafe sides of tuples in turn."""

    images: NDArray[np.uint8]  # [B, 64, 64, 3]
    captions: list[str]
    shown: NDArray[np.int64]  # [B, 3]: subject, object and place of each image
    said: NDArray[np.int64]  # [B, 3]: the same of each caption, UNSAID where it does not tell


def factors(scene: Scene) -> tuple[int, int, int]:
    """Number the subject, object and place of a scene by their order in the vocabulary."""
    return _SUBJECTS.index(scene.subject), ALL_OBJECTS.index(scene.object), _PLACES.index(scene.place)


def draw_combinations(count: int, seed: int) -> list[Combination]:
    """Draw the combinations of the training set; the same seed draws the same."""
    return list(islice(training_combinations(random.Random(seed)), count))


def rendered_scenes(art_folder: Path, file: Path, combinations: list[Combination], seed: int) -> NDArray[np.uint8]:
    """Open the training images [N, 2, 64, 64, 3], safe side first; render them into `file` if it is not there yet."""
    if not file.exists():
        partial_file = file.with_suffix(".part")
        shape = (len(combinations), 2, SIDE, SIDE, 3)
        images = open_memmap(partial_file, mode="w+", dtype=np.uint8, shape=shape)
        starts = range(0, len(combinations), CHUNK)
        chunks = [combinations[start : start + CHUNK] for start in starts]
        with ProcessPoolExecutor(max_workers=2) as pool:
            for start, chunk in zip(starts, pool.map(partial(_render, art_folder, seed), starts, chunks), strict=True):
                images[start : start + len(chunk)] = chunk
        images.flush()
        partial_file.rename(file)
    stored: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return stored


def draw_batch(images: NDArray[np.uint8], combinations: list[Combination], tuples: int, rng: random.Random) -> Batch:
    """Draw a contrastive batch of twice `tuples` images; a scene and its unsafe twin are always in it together."""
    chosen = rng.sample(range(len(combinations)), tuples)
    captions: list[str] = []
    shown: list[tuple[int, int, int]] = []
    said: list[tuple[int, int, int]] = []
    for number in chosen:
        pair = scene_pair(combinations[number])
        kind = rng.choices(list(CAPTION_SHARES), weights=list(CAPTION_SHARES.values()))[0]
        captions.extend(caption_pair(pair.safe, pair.unsafe, rng) if kind == "all" else _short_captions(pair, kind))
        for scene in (pair.safe, pair.unsafe):
            subject, thing, place = factors(scene)
            shown.append((subject, thing, place))
            said.append(
                (
                    subject if kind in ("all", "subject") else UNSAID,
                    thing if kind in ("all", "object") else UNSAID,
                    place if kind in ("all", "place") else UNSAID,
                )
            )
    pixels = images[chosen].reshape(-1, SIDE, SIDE, 3)
    return Batch(pixels, captions, np.array(shown), np.array(said))


def describes(batch: Batch) -> NDArray[np.bool_]:
    """Say for image i and caption j, [B, B], whether the caption is true of the image: then j is no negative for i."""
    told = batch.said[None, :, :]
    matching: NDArray[np.bool_] = ((told == UNSAID) | (told == batch.shown[:, None, :])).all(axis=2)
    return matching


def _render(art_folder: Path, seed: int, start: int, combinations: list[Combination]) -> NDArray[np.uint8]:
    art = load_art(art_folder)
    images = np.empty((len(combinations), 2, SIDE, SIDE, 3), dtype=np.uint8)
    for offset, combination in enumerate(combinations):
        rng = random.Random(f"{seed}-{start + offset}")
        pair = scene_pair(combination)
        for side, scene in enumerate((pair.safe, pair.unsafe)):
            # Encoded and decoded, because the shipped images are: the model must know what JPEG does to a scene.
            with Image.open(io.BytesIO(store(compose(scene, art, rng)))) as image:
                images[offset, side] = np.asarray(image)
    return images


def _short_captions(pair: ScenePair, kind: str) -> tuple[str, str]:
    safe, unsafe = (_short_caption(scene, kind) for scene in (pair.safe, pair.unsafe))
    return safe, unsafe


def _short_caption(scene: Scene, kind: str) -> str:
    if kind == "place":
        return PLACE_TEMPLATE.format(PLACES[scene.place][1])
    return TEMPLATE.format(scene.object if kind == "object" else scene.subject)
