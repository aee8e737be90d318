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

from editkit_demo.captions import Said, caption_pair
from editkit_demo.scenes import SIDE, Pair, Scene, compose, load_art, store
from editkit_demo.tuples import training_pairs

CHUNK = 500  # tuples rendered at a time by one process


@dataclass(frozen=True)
class Batch:
    """B images with a caption each: safe and unsafe sides of tuples in turn."""

    images: NDArray[np.uint8]  # [B, 60, 60, 3]
    scenes: list[Scene]
    captions: list[Said]

    def also_true(self) -> NDArray[np.bool_]:
        """Say for image i and caption j, [B, B], whether j is true of i: then it is no negative for it."""
        return np.array([[said.is_true_of(scene) for said in self.captions] for scene in self.scenes])


def draw_pairs(count: int, seed: int) -> list[Pair]:
    """Draw the tuples of the training set; the same seed draws the same."""
    return list(islice(training_pairs(random.Random(seed)), count))


def rendered_scenes(art_folder: Path, file: Path, pairs: list[Pair], seed: int) -> NDArray[np.uint8]:
    """Open the training images [N, 2, 60, 60, 3], safe side first; render them into `file` if it is not there yet."""
    if not file.exists():
        partial_file = file.with_suffix(".part")
        images = open_memmap(partial_file, mode="w+", dtype=np.uint8, shape=(len(pairs), 2, SIDE, SIDE, 3))
        starts = range(0, len(pairs), CHUNK)
        chunks = [pairs[start : start + CHUNK] for start in starts]
        with ProcessPoolExecutor(max_workers=2) as pool:
            for start, chunk in zip(starts, pool.map(partial(_render, art_folder, seed), starts, chunks), strict=True):
                images[start : start + len(chunk)] = chunk
        images.flush()
        partial_file.rename(file)
    stored: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return stored


def draw_batch(images: NDArray[np.uint8], pairs: list[Pair], tuples: int, rng: random.Random) -> Batch:
    """Draw a contrastive batch of twice `tuples` images; a scene and its unsafe twin are always in it together."""
    chosen = rng.sample(range(len(pairs)), tuples)
    scenes = [scene for number in chosen for scene in (pairs[number].safe, pairs[number].unsafe)]
    captions = [said for number in chosen for said in caption_pair(pairs[number], rng, training=True)]
    return Batch(images[chosen].reshape(-1, SIDE, SIDE, 3), scenes, captions)


def _render(art_folder: Path, seed: int, start: int, pairs: list[Pair]) -> NDArray[np.uint8]:
    art = load_art(art_folder)
    images = np.empty((len(pairs), 2, SIDE, SIDE, 3), dtype=np.uint8)
    for offset, pair in enumerate(pairs):
        rng = random.Random(f"{seed}-{start + offset}")
        for side, scene in enumerate((pair.safe, pair.unsafe)):
            # Encoded and decoded, because the shipped images are: the model must know what JPEG does to a scene.
            with Image.open(io.BytesIO(store(compose(scene, art, rng)))) as image:
                images[offset, side] = np.asarray(image)
    return images
