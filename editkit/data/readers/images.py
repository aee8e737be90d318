"""Images as data sets refer to them, and how one is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.errors import DataError, one_line

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ImageBytes:
    """An encoded image held in memory; `name` is what an error message calls it."""

    data: bytes = field(repr=False)
    name: str

    def __str__(self) -> str:
        return self.name


ImageSource = Path | ImageBytes
"""A file, or the bytes of one."""


def open_rgb(image: ImageSource) -> Image.Image:
    """Decode an image completely and convert it to RGB.

    As in CLIP's own pipelines the EXIF orientation is not applied and an alpha channel is dropped,
    so the pixels are those that published results were measured on.

    Raises:
        DataError: the file is missing, truncated, no image, or a decompression bomb; it is named.
    """
    from PIL import Image

    try:
        with Image.open(image if isinstance(image, Path) else BytesIO(image.data)) as opened:
            return opened.convert("RGB")
    except FileNotFoundError as error:
        raise DataError(
            f"The image {image} does not exist.", "Restore the file, or take its item out of the data."
        ) from error
    except MemoryError:  # no fault of the image
        raise
    except Exception as error:  # a decoder that meets broken bytes raises whatever its parser stumbles over
        raise DataError(
            f"The image {image} cannot be read: {_reason(error)}.",
            "Replace the file by an intact one, or leave its item out with --on-bad-item skip.",
        ) from error


def _reason(error: Exception) -> str:
    """Say in a few words what is wrong; Pillow's own message may hold a memory address or span lines."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, as a decompression bomb would"
    return one_line(error).rstrip(".")
