"""Whether a tokenizer and an image processor of transformers fit the model; else it computes nonsense or fails late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from editkit.errors import ModelError
from editkit.models.reading import read_json

SAMPLE = (97, 61)
"""Width and height of the image that is tried: of no processor's own size, and no square."""
IMAGE_SETTINGS = ("preprocessor_config.json", "processor_config.json")


def require_ids_fit(source: str, tokenizer: Any, rows: int, whose: str = "") -> None:
    """Check that the text tower has an embedding for every id of its tokenizer.

    Args:
        source: the model.
        rows: how many ids it embeds.
        whose: the tokenizer is, if not the model's own.

    Raises:
        ModelError: names the highest id.
    """
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"The tokenizer of {whose or source} has ids up to {highest}; the text tower of {source} embeds {rows}.",
            "Copy the tokenizer files of the model that these weights were trained from beside them.",
        )


def require_pixels_fit(source: str, processor: Any, size: int | tuple[int, int], whose: str = "") -> None:
    """Check, by trying, that an image processor makes images of the size that the vision tower takes.

    Args:
        source: the model.
        size: height and width in pixels, one number for both.
        whose: the processor is, if not the model's own.

    Raises:
        ModelError: names both sizes.
    """
    height, width = (size, size) if isinstance(size, int) else size
    made = processor(images=Image.new("RGB", SAMPLE), return_tensors="pt")["pixel_values"].shape[-2:]
    if tuple(made) != (height, width):
        raise ModelError(
            f"The image processor of {whose or source} makes images of {made[1]} x {made[0]} pixels, but the vision "
            f"tower of {source} takes {width} x {height}.",
            "Set size and crop_size in preprocessor_config.json to those of the model, or copy the right file.",
        )


def image_notes(folder: Path) -> tuple[str, ...]:
    """Return what the user should know of a folder's image processor: hardly a model was trained without a mean."""
    for name in IMAGE_SETTINGS:
        settings = read_json(folder / name) if (folder / name).is_file() else {}
        own = settings.get("image_processor", settings)
        if isinstance(own, dict) and own.get("do_normalize") is False:
            return (f"images are not normalised: {name} says do_normalize false",)
    return ()
