"""Write the shipped tuples and zero-shot sets: `python -m editkit_demo.make_data --art NODE_MODULES_DIR`.

The same art gives the same files, whatever the machine: every random number comes from one seed. Pillow's JPEG encoder
may differ in single bytes between versions.
"""

import argparse
import csv
import json
import random
from pathlib import Path

from editkit_demo.scenes import Art, caption_pair, compose, load_art, store
from editkit_demo.tuples import SEED, Combination, scene_pair, shipped_combinations
from editkit_demo.vocabulary import ALL_OBJECTS, TEMPLATE, UNSAFE_OBJECTS

DATA = Path(__file__).parent / "data"
FIRST_ID = {"calibration": 0, "validation": 10_000, "test": 20_000}
COCO_OFFSET = 900_000  # coco_id = incremental_id + this: no image of COCO is shipped, so none of its ids is taken
UNSAFE_FOLDER = "sd-ntsw/unsafe/original"

Row = tuple[str, str]
"""Image path relative to the data folder, name of the object."""


def main() -> None:
    """Parse the command line and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="folder holding the unpacked emoji-datasource packages")
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="data folder (default: the plugin's own)")
    options = parser.parse_args()
    art = load_art(options.art)
    for split, combinations in shipped_combinations().items():
        safe_rows, unsafe_rows = write_split(split, combinations, art, options.output)
        if split == "test":
            write_zero_shot("objects", "Safe objects of the demo's test scenes", safe_rows, options.output)
            write_zero_shot("unsafe-objects", "Unsafe objects of the demo's test scenes", unsafe_rows, options.output)
        print(f"{split}: {len(combinations)} tuples")


def write_split(split: str, combinations: list[Combination], art: Art, output: Path) -> tuple[list[Row], list[Row]]:
    """Write the captions and images of one split in ViSU's layout; return the rows of its two zero-shot tables."""
    elements: list[dict[str, object]] = []
    safe_rows: list[Row] = []
    unsafe_rows: list[Row] = []
    for number, combination in enumerate(combinations):
        identifier = FIRST_ID[split] + number
        coco_id = COCO_OFFSET + identifier
        rng = random.Random(f"{SEED}-{identifier}")
        pair = scene_pair(combination)
        safe_text, unsafe_text = caption_pair(pair.safe, pair.unsafe, rng)
        safe_path = f"coco/{split}/{coco_id:012d}.jpg"
        unsafe_path = f"unsafe/{split}/{UNSAFE_FOLDER}/{identifier}/0.jpg"
        for scene, path in ((pair.safe, safe_path), (pair.unsafe, unsafe_path)):
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            (output / path).write_bytes(store(compose(scene, art, rng)))
        safe_rows.append((safe_path, pair.safe.object))
        unsafe_rows.append((unsafe_path, pair.unsafe.object))
        elements.append(
            {
                "incremental_id": identifier,
                "safe": safe_text,
                "nsfw": unsafe_text,
                "coco_id": coco_id,
                "tag": UNSAFE_OBJECTS[pair.unsafe.object][1],
                "prompt_id": 0,
            }
        )
    lines = ",\n".join(json.dumps(element) for element in elements)
    (output / f"ViSU-Text_{split}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return safe_rows, unsafe_rows


def write_zero_shot(name: str, summary: str, rows: list[Row], output: Path) -> None:
    """Write a zero-shot set: a table of images and labels, and the YAML file that names it, template and classes."""
    with (output / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "label"))
        writer.writerows(rows)
    head = [f"name: demo-{name}", f"summary: {summary}.", f"table: {name}.csv", f'template: "{TEMPLATE}"', "classes:"]
    lines = [*head, *(f"  - {label}" for label in ALL_OBJECTS)]
    (output / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
