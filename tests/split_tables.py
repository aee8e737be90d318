"""Tables of two splits cut from the demo's tuples, as `pairs:FOLDER/t-{split}.jsonl` reads them."""

from __future__ import annotations

import json
from pathlib import Path

from models import table


def two_splits(folder: Path, *, train: int, test: int) -> str:
    """Write tables for edits and for evaluations that share no tuple; return what `--data` calls them."""
    for split, source, count in (("train", "calibration", train), ("test", "test", test)):
        table(folder / split, count, split=source)
        rows = [json.loads(line) for line in (folder / split / "t.jsonl").read_text().splitlines()]
        for row in rows:
            row |= {key: f"{split}/{row[key]}" for key in ("safe_image", "unsafe_image")}
        (folder / f"t-{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return f"pairs:{folder / 't-{split}.jsonl'}"
