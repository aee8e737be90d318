"""Write the shipped tuples, slices, queries and zero-shot sets: `python -m editkit_demo.make_data --art NODE_MODULES`.

The same art gives the same files, whatever the machine: every random number comes from one seed. Pillow's JPEG encoder
may differ in single bytes between versions.
"""

import argparse
import csv
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from editkit_demo.captions import caption_pair, with_article
from editkit_demo.places import PLACES
from editkit_demo.scenes import Art, Pair, compose, load_art, store
from editkit_demo.tuples import SEED, SIZES, SLICE_SIZES, shipped_pairs
from editkit_demo.vocabulary import (
    OBJECTS,
    SAFE_OBJECTS,
    SUBJECTS,
    UNSAFE_OBJECTS,
)
from editkit_demo.wordings import TELLINGS, tell_pair

DATA = Path(__file__).parent / "data"
FIRST_ID = {"calibration": 0, "validation": 10_000, "test": 20_000}
COCO_OFFSET = 900_000  # coco_id = incremental_id + this: no image of COCO is shipped, so none of its ids is taken
UNSAFE_FOLDER = "sd-ntsw/unsafe/original"
WORDED = 300  # test tuples that are told in other words
TEMPLATE = "a photo of a {}."
PLACE_TEMPLATE = "a photo taken {}."


@dataclass(frozen=True)
class Told:
    """A tuple as it is shipped: its scenes, its captions, and its image files relative to the data folder."""

    pair: Pair
    safe_text: str
    unsafe_text: str
    safe_image: str
    unsafe_image: str


def main() -> None:
    """Parse the command line and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder holding the unpacked emoji-datasource packages")
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="data folder (default: the plugin's own)")
    options = parser.parse_args()
    art, output = load_art(options.art), options.output
    pairs = shipped_pairs()
    told = {split: write_split(split, pairs[split], art, output) for split in SIZES}
    slices = {name: write_slice(name, pairs[name], art, output) for name in SLICE_SIZES}
    for name in TELLINGS:
        slices[name] = [_retold(name, one, number) for number, one in enumerate(_worded(name, told["test"]))]
    write_slices(slices, output)
    write_queries(output)
    alone = [one for one in told["test"] if not one.pair.safe.others]  # one object: then it is what the image is of
    write_classes(
        "objects",
        "Safe objects of the demo's test scenes",
        TEMPLATE,
        OBJECTS,
        output,
        ((one.safe_image, one.pair.safe.main) for one in alone),
    )
    write_classes(
        "unsafe-objects",
        "Unsafe objects of the demo's test scenes",
        TEMPLATE,
        OBJECTS,
        output,
        ((one.unsafe_image, one.pair.unsafe.main) for one in alone),
    )
    benign = slices["benign: look-alikes"]
    write_classes(
        "benign-subjects",
        "Subjects of the demo's benign look-alikes",
        TEMPLATE,
        SUBJECTS,
        output,
        ((one.safe_image, one.pair.safe.subject) for one in benign),
    )
    write_classes(
        "benign-places",
        "Places of the demo's benign look-alikes",
        PLACE_TEMPLATE,
        [place.phrases[0] for place in PLACES.values()],
        output,
        ((one.safe_image, PLACES[one.pair.safe.place].phrases[0]) for one in benign),
    )


def write_split(split: str, pairs: Sequence[Pair], art: Art, output: Path) -> list[Told]:
    """Write the captions and images of one split in ViSU's layout."""
    found: list[Told] = []
    elements: list[dict[str, object]] = []
    for number, pair in enumerate(pairs):
        identifier = FIRST_ID[split] + number
        coco_id = COCO_OFFSET + identifier
        files = f"coco/{split}/{coco_id:012d}.jpg", f"unsafe/{split}/{UNSAFE_FOLDER}/{identifier}/0.jpg"
        one = _tell(pair, files, art, output, f"{SEED}-{identifier}")
        found.append(one)
        elements.append(
            {
                "incremental_id": identifier,
                "safe": one.safe_text,
                "nsfw": one.unsafe_text,
                "coco_id": coco_id,
                "tag": pair.unsafe.concept,
                "prompt_id": 0,
            }
        )
    _write_lines(output / f"ViSU-Text_{split}.json", "[\n", elements, ",\n", "\n]\n")
    return found


def write_slice(name: str, pairs: Sequence[Pair], art: Art, output: Path) -> list[Told]:
    """Write the images of a slice that has scenes of its own; every caption names what the slice is about."""
    folder = "slices/" + name.replace(": ", "-").replace(" ", "-")
    found = []
    for number, pair in enumerate(pairs):
        files = f"{folder}/{number:03d}-safe.jpg", f"{folder}/{number:03d}-unsafe.jpg"
        seed = f"{SEED}-{name}-{number}"
        found.append(_tell(pair, files, art, output, seed, form="usual", toned=name.startswith("cue: ")))
    return found


def write_slices(slices: dict[str, list[Told]], output: Path) -> None:
    """Write the table of all slices, a tuple a line."""
    rows = [
        {
            "id": f"{name} {number}",
            "safe_text": one.safe_text,
            "unsafe_text": one.unsafe_text,
            "safe_image": one.safe_image,
            "unsafe_image": one.unsafe_image,
            "concept": one.pair.unsafe.concept,
            "slice": name,
        }
        for name, tuples in sorted(slices.items())
        for number, one in enumerate(tuples)
    ]
    _write_lines(output / "slices.jsonl", "", rows, "\n", "\n")


def write_queries(output: Path) -> None:
    """Write what a user of a search engine might ask: an object, or, neither safe nor unsafe, a subject or a place."""
    rows = [("safe", f"a photo of {with_article(name)}.") for name in SAFE_OBJECTS]
    rows += [("neutral", f"a photo of {with_article(name)}.") for name in SUBJECTS]
    rows += [("neutral", PLACE_TEMPLATE.format(place.phrases[0])) for place in PLACES.values()]
    rows += [("unsafe", f"a photo of {with_article(name)}.") for name in UNSAFE_OBJECTS]
    _write_table(output / "queries.csv", ("text", "kind"), ((text, kind) for kind, text in rows))


def write_classes(
    name: str, summary: str, template: str, classes: Iterable[str], output: Path, rows: Iterable[tuple[str, str]]
) -> None:
    """Write a zero-shot set: a table of images and labels, and the YAML file that names it, template and classes."""
    _write_table(output / f"{name}.csv", ("image", "label"), rows)
    head = [f"name: demo-{name}", f"summary: {summary}.", f"table: {name}.csv", f'template: "{template}"', "classes:"]
    lines = [*head, *(f"  - {label}" for label in classes)]
    (output / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tell(
    pair: Pair, files: tuple[str, str], art: Art, output: Path, seed: str, form: str = "", toned: bool = False
) -> Told:
    rng = random.Random(seed)
    safe, unsafe = caption_pair(pair, rng, form=form, toned=toned)
    for scene, file in zip((pair.safe, pair.unsafe), files, strict=True):
        (output / file).parent.mkdir(parents=True, exist_ok=True)
        (output / file).write_bytes(store(compose(scene, art, rng)))
    return Told(pair, safe.text, unsafe.text, *files)


def _worded(name: str, told: Sequence[Told]) -> list[Told]:
    several = name == "wording: several objects"
    return [one for one in told if not several or one.pair.safe.others][:WORDED]


def _retold(name: str, one: Told, number: int) -> Told:
    safe, unsafe = tell_pair(name, one.pair, f"{SEED}-{name}-{number}")
    return Told(one.pair, safe, unsafe, one.safe_image, one.unsafe_image)


def _write_lines(file: Path, head: str, rows: Iterable[Mapping[str, object]], between: str, end: str) -> None:
    file.write_text(head + between.join(json.dumps(row) for row in rows) + end, encoding="utf-8")


def _write_table(file: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
