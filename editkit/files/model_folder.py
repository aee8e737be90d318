"""A model folder: which of its files travel with the weights, and which hold the same weights again."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from editkit.errors import ModelError

INDEX = ".safetensors.index.json"
ANY_INDEX = re.compile(r"\.(?P<format>safetensors|bin)\.index(\.[\w-]+)?\.json$", re.IGNORECASE)
"""How an index of shards is called, a variant's (`model.safetensors.index.fp16.json`) too."""
ARCHIVE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
WEIGHT_SUFFIXES = (
    *ARCHIVE_SUFFIXES,
    *(".safetensors", ".h5", ".msgpack", ".onnx", ".onnx_data", ".ot", ".gguf", ".ggml", ".tflite", ".npz", ".pb"),
    *(".bin.index.json", INDEX, ".h5.index.json", ".msgpack.index.json"),
)
"""Names that end like this are weights. Beside an edited checkpoint they would be the same model, unedited."""
WEIGHT_FOLDERS = ("onnx", "openvino", "coreml", "tflite")


def is_weights(name: str) -> bool:
    """Whether a path inside a model folder ("onnx/model.onnx") is a file of weights, by its name."""
    *folders, file = PurePosixPath(name.lower()).parts
    if file.endswith(WEIGHT_SUFFIXES) or ANY_INDEX.search(file):
        return True
    return any(folder in WEIGHT_FOLDERS for folder in folders)


def is_safetensors(name: str) -> bool:
    """Whether a file holds safetensors or is the index of shards that do, by its name."""
    index = ANY_INDEX.search(name)
    return name.lower().endswith(".safetensors") or bool(index and index["format"].lower() == "safetensors")


def is_archives(name: str) -> bool:
    """Whether a file is a torch archive or the index of some, by its name."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) or bool(ANY_INDEX.search(name) and not is_safetensors(name))


ADAPTERS = (
    *("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"),
    *("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"),
)
"""What PEFT and diffusers save of an adapter: beside a model's weights, their libraries would lay it over them."""


def is_adapter(name: str) -> bool:
    """Whether a file, in the folder or below it, belongs to an adapter that was trained for a model, by its name."""
    return PurePosixPath(name).name in ADAPTERS


def split_others(root: Path, chosen: Collection[str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rest of a model folder as (files that travel with the weights, unedited twins to leave out).

    Hidden folders (.git, .cache) are neither. A folder of weights in another format is named once, as "onnx/".
    """
    others: list[str] = []
    twins: dict[str, None] = {}
    for name in _walk(root, "", frozenset()):
        if name in chosen:
            continue
        if not is_weights(name) and not is_adapter(name):
            others.append(name)
            continue
        parts = PurePosixPath(name).parts
        depth = next((i for i, part in enumerate(parts[:-1]) if part.lower() in WEIGHT_FOLDERS), None)
        twins[name if depth is None else "/".join(parts[: depth + 1]) + "/"] = None
    return tuple(others), tuple(twins)


def _walk(root: Path, inside: str, above: frozenset[str]) -> Iterator[str]:
    """Yield every file's path relative to `root`, through links (hub caches are made of them), never in a circle."""
    here = root / inside
    above = above | {os.path.realpath(here)}
    for entry in sorted(here.iterdir(), key=lambda entry: entry.name):
        name = f"{inside}{entry.name}"
        if entry.is_dir():
            if not entry.name.startswith(".") and os.path.realpath(entry) not in above:
                yield from _walk(root, name + "/", above)
        elif entry.is_file():
            yield name
        else:
            raise ModelError(
                f"{entry} is a broken link or not a plain file, so the folder cannot be copied.",
                "Remove it, or complete the download it belongs to.",
            )
