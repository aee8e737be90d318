"""Grey images of more than 8 bits, scaled to 8: Pillow's own conversion clips them, which makes most of them white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from editkit.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

WHITE = 65535
"""Of 16 bits; 257 steps of it are one of 8 bits."""
REMEDY = "Save it in 8 bits, scaled as its values mean, or leave its item out with --on-bad-item skip."


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert an image of any mode to RGB: 16 bits of grey from 0 to 65535, floats from 0 to 1.

    Args:
        name: what an error calls the image.

    Raises:
        DataError: its values are others, so that nothing says which of them is white.
    """
    if image.mode.startswith("I"):
        return _grey(_scaled_integers(np.asarray(image), name))
    return _grey(_scaled_floats(np.asarray(image), name)) if image.mode == "F" else image.convert("RGB")


def _scaled_integers(values: npt.NDArray[np.integer], name: str) -> npt.NDArray[np.float64]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > WHITE:
        raise DataError(
            f"The image {name} has grey values from {low:,} to {high:,}, which are not those of 16 bits.", REMEDY
        )
    if 0 < high < 257:
        raise DataError(f"The image {name} is of 16 bits, but its values end at {high}: it would be black.", REMEDY)
    return values / 257


def _scaled_floats(values: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())  # NaN if there is one
    if not (low >= 0 and high <= 1):
        raise DataError(f"The image {name} has grey values from {low:g} to {high:g}, not from 0 to 1.", REMEDY)
    return values.astype(np.float64) * 255


def _grey(values: npt.NDArray[np.float64]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")
