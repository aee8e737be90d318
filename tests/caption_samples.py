"""What tests of captioning share: a small LLaVA and its data, an edit of it, and captioning as Python calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_models import tiny_llava
from models import table

import editkit
from editkit.evals.keep import Kept
from editkit.files.bits import to_bits, to_tensor
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit_llava.adapter import Llava

TUPLES, BATCH, WORDS = 7, 3, 10


def prepare(folder: Path) -> Path:
    """Write a random LLaVA (`model`), seven tuples (`data/t.jsonl`) and an edit of the vision tower (`edit`)."""
    model = tiny_llava(folder / "model")
    table(folder / "data", TUPLES)
    files = Llava().open(str(model))
    changes = []
    for layer in range(3):
        key = f"vision_tower.vision_model.encoder.layers.{layer}.mlp.fc2.weight"
        info, bits = files.checkpoint.info(key), files.checkpoint.read(key)
        changes.append(Change.between(key, info.dtype, bits, to_bits(-to_tensor(bits, info.dtype, key))))
    record = {"model": {"source": str(model)}}
    Patch.create(files.checkpoint, [change for change in changes if change is not None], record).save(
        folder / "edit", "# card"
    )
    return folder


def caption(
    folder: Path,
    output: Path,
    *,
    model: str | Path | None = None,
    data: Path | None = None,
    batch_size: int = BATCH,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Kept:
    """Caption the data of `folder` with its model, in batches of three, ten words at most unless `options` differ."""
    return editkit.caption(
        model=model or folder / "model",
        data=str(data or folder / "data" / "t.jsonl"),
        settings={"compute.batch_size": batch_size, "compute.device": "cpu", **(settings or {})},
        options={"max_new_tokens": WORDS, **(options or {})},
        output=output,
        **more,
    )
