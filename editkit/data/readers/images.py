"""Images as data sets refer to them, and how one is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.data.readers.image_kinds import kind_of
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
OR_SKIP = ", or leave its item out with --on-bad-item skip."


def open_rgb(image: ImageSource) -> Image.Image:
    """Decode an image completely and convert it to RGB.

    As in CLIP's own pipelines the EXIF orientation is not applied and an alpha channel is dropped,
    so the pixels are those that published results were measured on.

    Raises:
        DataError: the file is missing, truncated, no image, a decompression bomb, or of a kind that Pillow cannot
            decode here; or its grey values have no known white (see `to_rgb`). It is named.
    """
    from PIL import Image, UnidentifiedImageError

    from editkit.data.readers.deep_grey import to_rgb

    try:
        with Image.open(image if isinstance(image, Path) else BytesIO(image.data)) as opened:
            return to_rgb(opened, str(image))
    except FileNotFoundError as error:
        raise DataError(
            f"The image {image} does not exist.", "Restore the file, or take its item out of the data."
        ) from error
    except (MemoryError, DataError):  # no fault of the image, or one that has its words
        raise
    except Exception as error:  # a decoder that meets broken bytes raises whatever its parser stumbles over
        kind = kind_of(_start(image)) if isinstance(error, UnidentifiedImageError) else None
        if kind is None:
            raise DataError(
                f"The image {image} cannot be read: {_reason(error)}.", f"Replace it by an intact one{OR_SKIP}"
            ) from error
        if kind.register():
            return open_rgb(image)
        raise DataError(
            f"The image {image} cannot be read: it is {kind.called}, which Pillow does not decode here.",
            f"Run `{kind.install}`{OR_SKIP}",
        ) from error


def _start(image: ImageSource) -> bytes:
    if isinstance(image, Path):
        with image.open("rb") as file:
            return file.read(12)
    return image.data[:12]


def _reason(error: Exception) -> str:
    """Say in a few words what is wrong; Pillow's own message may hold a memory address or span lines."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, as a decompression bomb would"
    return one_line(error).rstrip(".")
