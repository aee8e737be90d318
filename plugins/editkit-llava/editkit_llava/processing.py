"""Images and captions to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit.plugin import ModelError, require_ids_fit, require_pixels_fit

VOCABULARIES = ("tokenizer.json", "tokenizer.model")


class Preprocess:
    """One image to `pixel_values`; holds the processor alone, so that workers never see the model.

    LLaVA-NeXT cuts an image into tiles, more or fewer by its shape, which no batch could hold. The first of them, the
    whole image at the tower's own resolution, stands for the image; `settings` tell other processors to make it alone.
    """

    def __init__(self, processor: Any, settings: Mapping[str, Any]) -> None:
        self.processor = processor
        self.settings = settings

    def __call__(self, image: Any) -> Mapping[str, Tensor]:
        """Return {"pixel_values": [3, H, W]}."""
        pixels = self.processor(images=image, return_tensors="pt", **self.settings)["pixel_values"][0]
        return {"pixel_values": pixels[0] if pixels.dim() == 4 else pixels}


def pad(ids: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Return [B, T] int64, each row filled up with `padding` to the longest, and [B, T] bool, where the ids are."""
    lengths = torch.tensor([len(row) for row in ids])
    width = int(lengths.max())
    padded = torch.tensor([[*row, *[padding] * (width - len(row))] for row in ids])
    return padded, torch.arange(width) < lengths[:, None]


def require_vocabulary(source: str, folder: Path) -> None:
    """Check that a tokenizer can be loaded: transformers would make up one that knows no word.

    Raises:
        ModelError: the folder holds no vocabulary.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(
            f"{source} has no tokenizer: neither of {' and '.join(VOCABULARIES)} is there.",
            "Copy the tokenizer files of the model it was trained from into the folder.",
        )


def require_fit(source: str, config: Any, tokenizer: Any, images: Any) -> None:
    """Check a tokenizer and an image processor, None where there is none, against transformers' config of the model.

    Raises:
        ModelError: the tokenizer has ids that the language model does not embed, or images are of another size.
    """
    if tokenizer is not None:
        require_ids_fit(source, tokenizer, config.text_config.vocab_size)
    if images is not None:
        require_pixels_fit(source, images, config.vision_config.image_size)
