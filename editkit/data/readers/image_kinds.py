"""Kinds of images that Pillow decodes with the help of another library only, known by their first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class ImageKind:
    """A kind of image, the module that teaches Pillow to decode it, and how that is installed."""

    called: str
    module: str
    install: str

    def register(self) -> bool:
        """Teach Pillow this kind if the library is there; false: it is not, or Pillow knew it already."""
        from PIL import Image

        before = len(Image.OPEN)
        try:
            module = import_module(self.module)
        except ImportError:
            return False
        if register := getattr(module, "register_heif_opener", None):
            register()
        return len(Image.OPEN) > before


HEIF = ImageKind("HEIF, as phones take photographs", "pillow_heif", "pip install pillow-heif")
AVIF = ImageKind("AVIF", "pillow_avif", "pip install --upgrade pillow")
JPEG_XL = ImageKind("JPEG XL", "pillow_jxl", "pip install pillow-jxl-plugin")


def kind_of(start: bytes) -> ImageKind | None:
    """Return which of them an image is by its first 12 bytes; None: another one, or no image."""
    if start[4:8] == b"ftyp":
        return AVIF if start[8:12] in (b"avif", b"avis") else HEIF if start[8:12] in HEIF_BRANDS else None
    return JPEG_XL if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) else None
