"""Which files below a folder are images, and what else lies there: nothing is passed over without being counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from editkit.errors import DataError

NOT_DECODED = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"})
"""Formats whose extensions Pillow registers though it only recognises or only writes them."""
OF_PLUGINS = frozenset({".avif", ".heic", ".heif", ".hif", ".jxl"})
"""Images that some Pillows cannot decode without another library, which the error then names."""
SHOWN = 5  # kinds of files that one sentence names


@cache
def image_suffixes() -> frozenset[str]:
    """Return the extensions of image files, in lower case: those that Pillow has here, and those of its plugins."""
    from PIL import Image

    registered = Image.registered_extensions()
    return OF_PLUGINS | {suffix for suffix, kind in registered.items() if kind not in NOT_DECODED}


def is_image_name(name: str) -> bool:
    """Say whether a file is an image, by its extension, whatever the case."""
    return Path(name).suffix.lower() in image_suffixes()


@dataclass
class PassedOver:
    """What was not taken from folders, by kind: files that are no images, hidden ones, images in no class folder."""

    no_images: Counter[str] = field(default_factory=Counter)
    """Files that are no images, by extension."""
    hidden: int = 0
    """Files and folders whose name begins with a dot, as `._1.jpg` of macOS does."""
    in_no_class: int = 0
    """Images beside the class folders."""
    empty: list[str] = field(default_factory=list)
    """Class folders without any image."""

    def no_image(self, name: str) -> None:
        """Count a file that is no image."""
        self.no_images[Path(name).suffix.lower() or "without extension"] += 1

    def include(self, other: PassedOver) -> None:
        """Count what was passed over in a folder of this one."""
        self.no_images += other.no_images
        self.hidden += other.hidden

    def tell(self, name: str) -> tuple[str, ...]:
        """Return the sentence that says it of a folder; none where everything was taken."""
        counts = (
            (self.no_images.total(), "file that is no image", "files that are no images", f" ({self.kinds()})"),
            (self.hidden, "hidden file", "hidden files", ""),
            (self.in_no_class, "image in no class folder", "images in no class folder", ""),
            (len(self.empty), "folder without images", "folders without images", f" ({_some(self.empty)})"),
        )
        parts = [f"{n:,} {one if n == 1 else more}{which}" for n, one, more, which in counts if n]
        return (f"{name}: left out {', '.join(parts)}.",) if parts else ()

    def kinds(self) -> str:
        """Return the kinds of files that are no images with their counts, the most frequent first."""
        found = sorted(self.no_images.items(), key=lambda entry: (-entry[1], entry[0]))
        return _some([f"{suffix} {count:,}" for suffix, count in found])


def images_below(folder: Path, passed_over: PassedOver) -> list[Path]:
    """Return the images at any depth below a folder, sorted; links to folders are followed, each folder once.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[Path] = []
    for entry in _walk(folder, passed_over):
        if is_image_name(entry.name):
            found.append(Path(entry.path))
        else:
            passed_over.no_image(entry.name)
    return sorted(found)


def entries_of(folder: Path, passed_over: PassedOver) -> list[tuple[os.DirEntry[str], bool]]:
    """Return what lies in a folder and is not hidden, by name, each with whether it is a folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(entry, entry.is_dir()) for entry in sorted(entries, key=lambda entry: entry.name)]
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions, or take it away."
        ) from error
    seen = [one for one in found if not one[0].name.startswith(".")]
    passed_over.hidden += len(found) - len(seen)
    return seen


def _walk(folder: Path, passed_over: PassedOver) -> Iterator[os.DirEntry[str]]:
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        status = place.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        entries = entries_of(place, passed_over)
        yield from (entry for entry, is_folder in entries if not is_folder)
        # by name, so that of two ways into one folder the first is taken
        waiting += [Path(entry.path) for entry, is_folder in reversed(entries) if is_folder]


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
