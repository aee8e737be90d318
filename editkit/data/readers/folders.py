"""Image folders: one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from editkit.data.readers.content import Content, labelled
from editkit.errors import DataError, did_you_mean

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def images_by_class(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of each sub-folder with each image at any depth below it, sorted.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no image folder {folder}.", "Check `folder`; it is relative to the YAML file.")
    found = False
    for part in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for image in sorted(entry for entry in part.rglob("*") if entry.suffix.lower() in SUFFIXES):
            found = True
            yield part.name, image
    if not found:
        raise DataError(f"{folder} has no images.", "Put one sub-folder for each class in it, named like the class.")


def read_folders(folder: Path, names: Mapping[str, str] | None = None) -> Content:
    """Read a folder of class folders.

    Args:
        names: the class name of each folder name, in the order of the classes: all of them are classes, whichever are
            there. None: the folders there are the classes.

    Raises:
        DataError: no such folder, no image in it, or a sub-folder that is no class.
    """
    rows = []
    for part, image in images_by_class(folder):
        if names is not None and part not in names:
            raise DataError(
                f"{folder} has a folder '{part}', which is no class of this set.{did_you_mean(part, names)}",
                "Restore the set's own folder names.",
            )
        rows.append((image, part, f"{folder.name}/{image.relative_to(folder).as_posix()}"))
    content = labelled(rows, None if names is None else tuple(names))
    if names is None:
        return content
    return Content(content.images, content.labels, content.ids, tuple(names.values()))
