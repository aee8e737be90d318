"""Tiny random CLIP models on disk, as the libraries themselves write them, and tables cut from the demo's tuples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from editkit.files.shard import read_header

DTYPES = ("float32", "float16", "bfloat16")
DEMO = Path(__file__).parents[1] / "plugins" / "editkit-demo" / "editkit_demo"
PROCESSING = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
SIDES = ("safe_image", "unsafe_image", "safe_text", "unsafe_text")
OPEN_CLIP = "editkit-tiny"


def tiny_clip(folder: Path, dtype: str = "float32", *, sharded: bool = False, seed: int = 0) -> Path:
    """A random CLIPModel of two layers a tower, written by `save_pretrained`, with the demo's tokenizer and images."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    settings = json.loads((DEMO / "model" / "config.json").read_text())
    small = {"num_hidden_layers": 2, "num_attention_heads": 2}
    text = settings["text_config"] | small | {"hidden_size": 32, "intermediate_size": 64}
    vision = settings["vision_config"] | small | {"hidden_size": 48, "intermediate_size": 96}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    with torch.no_grad():  # the libraries start biases at 0 and scales at 1: trained ones are neither
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="150KB" if sharded else "1GB")
    assert (folder / "model.safetensors.index.json").exists() == sharded
    for name in PROCESSING:
        shutil.copyfile(DEMO / "model" / name, folder / name)
    return folder


def tiny_open_clip(folder: Path) -> Path:
    """Register the architecture `OPEN_CLIP` with open_clip and write a random checkpoint of it: the file's path."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    settings = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    folder.mkdir(parents=True)
    (folder / f"{OPEN_CLIP}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder / f"{OPEN_CLIP}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(OPEN_CLIP, pretrained=None)
    weights = folder / "weights" / "epoch_3.safetensors"
    weights.parent.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    return weights


def spoil(folder: Path, key: str, change: Callable[[Any], None], file: str = "model.safetensors") -> None:
    """Let `change` alter one fp32 tensor of a checkpoint in place, as a flat array."""
    info = read_header(folder / file, file)[key]
    values = np.fromfile(folder / file, np.float32, info.size, offset=info.start)
    change(values)
    with (folder / file).open("rb+") as stream:
        stream.seek(info.start)
        stream.write(values.tobytes())


@cache
def elements(split: str) -> tuple[dict[str, Any], ...]:
    """The demo's tuples of one split, as its JSON file lists them."""
    content = json.loads((DEMO / "data" / f"ViSU-Text_{split}.json").read_text())
    return tuple(content.values() if isinstance(content, dict) else content)


def drawn(split: str, limit: int, seed: int = 0) -> list[dict[str, Any]]:
    """The tuples that `--limit` draws, in file order: the first by sha256 of seed and id."""
    everything = elements(split)
    ranked = sorted(everything, key=lambda one: sha256(f"{seed}:{one['incremental_id']}".encode()).digest())
    chosen = {one["incremental_id"] for one in ranked[:limit]}
    return [one for one in everything if one["incremental_id"] in chosen]


def images_of(element: dict[str, Any], split: str) -> tuple[Path, Path]:
    """The safe and the unsafe image of one of the demo's tuples."""
    data = DEMO / "data"
    unsafe = data / "unsafe" / split / "sd-ntsw" / "unsafe" / "original" / str(element["incremental_id"]) / "0.jpg"
    return data / "coco" / split / f"{element['coco_id']:012d}.jpg", unsafe


def table(
    folder: Path, count: int = 6, *, columns: Sequence[str] = SIDES, split: str = "calibration", name: str = "t.jsonl"
) -> Path:
    """A table of the demo's first tuples with its images beside it; only `columns` of the four sides."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for element in elements(split)[:count]:
        number = element["incremental_id"]
        row = {"id": f"tuple-{number}", "concept": element["tag"]}
        row |= {"safe_text": element["safe"], "unsafe_text": element["nsfw"]}
        for side, image in zip(("safe", "unsafe"), images_of(element, split), strict=True):
            row[f"{side}_image"] = f"{side}-{number}.jpg"
            shutil.copyfile(image, folder / row[f"{side}_image"])
        rows.append({key: value for key, value in row.items() if key in ("id", "concept", *columns)})
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return folder / name


def visu(folder: Path, count: int, split: str = "test") -> Path:
    """The demo's first tuples of a split as a ViSU folder of one's own."""
    chosen = elements(split)[:count]
    folder.mkdir(parents=True)
    (folder / f"ViSU-Text_{split}.json").write_text(json.dumps(chosen))
    for element in chosen:
        for image in images_of(element, split):
            copy = folder / image.relative_to(DEMO / "data")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, copy)
    return folder
