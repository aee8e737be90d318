"""What adapters read of a model's folder before any weight: its files, its configuration, its tensors' places."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.errors import ModelError

if TYPE_CHECKING:
    from editkit.components.protocols import ModelFiles
    from editkit.files.checkpoint import TensorInfo


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        ModelError: the file cannot be read, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", "Check the model folder, or download it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object.", "Check the model folder, or download it again.")
    return content


def promised(files: ModelFiles, key: str) -> TensorInfo:
    """Return where a tensor lies that a model has to have by its configuration.

    Raises:
        ModelError: the checkpoint has no such tensor; names the one most like it.
    """
    from editkit.files.checkpoint import closest_key

    tensors = files.checkpoint.tensors
    if key in tensors:
        return tensors[key]
    closest = closest_key(key, tensors)
    raise ModelError(
        f"{files.source} has no tensor {key}, which its config.json promises"
        + (f"; the closest it has is {closest}." if closest else ", nor any like it."),
        "Check that config.json and the weights belong together, or download the model again.",
    )


PROCESSING_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""What transformers reads of a model's folder, beside weights and config.json, to make tensors and captions."""


def settings_digest(folder: Path, names: Sequence[str] = PROCESSING_FILES) -> str:
    """Return a digest of those of the files that a model's folder has: what decides beside weights and configuration.

    An adapter names the files by which images and captions become tensors; `ModelFiles.settings` holds the digest.
    """
    digest = hashlib.sha256()
    for name in names:
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
