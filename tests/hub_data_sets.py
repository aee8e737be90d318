"""Data sets as they are on the hub: pairs with images in Parquet files, and a webdataset of CLIP Benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zeroshot_layouts as layouts
from models import elements, images_of

TEXTS = ("id", "concept", "safe_text", "unsafe_text")
IMAGES = ("safe_image", "unsafe_image")
SPLITS = {"train": "calibration", "test": "test"}
"""The name on the hub -> the demo's."""


def pairs(folder: Path, count: int = 4) -> None:
    """The demo's first tuples of two splits, as `Dataset.push_to_hub` stores them: images are encoded bytes."""
    features = {name: {"dtype": "string", "_type": "Value"} for name in TEXTS}
    features |= {name: {"_type": "Image"} for name in IMAGES}
    for split, demo in SPLITS.items():
        rows = []
        for element in elements(demo)[:count]:
            row = {"id": f"tuple-{element['incremental_id']}", "concept": element["tag"]}
            row |= {"safe_text": element["safe"], "unsafe_text": element["nsfw"]}
            shown = dict(zip(IMAGES, images_of(element, demo), strict=True))
            rows.append(row | {name: {"bytes": path.read_bytes(), "path": path.name} for name, path in shown.items()})
        table = pa.Table.from_pylist(rows)
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path
        )
    files = "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in SPLITS)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n# Pairs\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs diff=lfs merge=lfs -text\n")


def clip_benchmark_pets(folder: Path) -> None:
    """Like clip-benchmark/wds_vtab-pets: two shards to test on, and one to train on that nobody needs."""
    parts = [[("webp", layouts.encoded(i, "webp"), i % 3) for i in numbers] for numbers in ((1, 2, 3), (4, 5))]
    names = ("Abyssinian", "shiba_inu", "great dane")
    layouts.shards(folder, names, ("a photo of a {c}, a type of pet.",), parts)
    (folder / "train").mkdir()
    (folder / "train" / "0.tar").write_bytes((folder / "test" / "0.tar").read_bytes())
    layouts.lines(folder / "train" / "nshards.txt", ["1"])
    (folder / "README.md").write_text("# Oxford-IIIT Pet, as a webdataset\n")
    (folder / ".gitattributes").write_text("*.tar filter=lfs diff=lfs merge=lfs -text\n")


WRITERS = {"someone/pairs": pairs, "clip-benchmark/wds_vtab-pets": clip_benchmark_pets}
"""By hub id."""
