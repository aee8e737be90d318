"""Image folders: one sub-folder for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from editkit.components.specs import OnBadItem
from editkit.data.readers.content import Content, labelled
from editkit.data.readers.image_files import PassedOver, entries_of, images_below, is_image_name
from editkit.errors import DataError, did_you_mean
from editkit.files.whole_text import half_pair


@dataclass(frozen=True)
class ClassFolders:
    """The images of each sub-folder, sorted, by its name; and what was passed over, in one sentence."""

    images: Mapping[str, list[Path]]
    warnings: tuple[str, ...]

    def rows(self) -> list[tuple[str, Path]]:
        """Return the name of each folder with each of its images."""
        return [(part, image) for part, images in self.images.items() for image in images]


def class_folders(folder: Path, *, empty: OnBadItem = "skip") -> ClassFolders:
    """Read which images lie in which sub-folder, at any depth; links to folders are followed.

    Args:
        empty: what to do about a sub-folder without images: "error" where it would be a class, which then vanishes.

    Raises:
        DataError: no such folder, one that cannot be read, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no image folder {folder}.",
            f"Check `folder`; a relative one starts at the YAML file, in {folder.parent.absolute()}.",
        )
    over = PassedOver()
    images: dict[str, list[Path]] = {}
    for entry, is_folder in entries_of(folder, over):
        if is_folder:
            in_part = PassedOver()
            images[entry.name] = images_below(Path(entry.path), in_part)
            over.include(in_part)
            if not images[entry.name]:
                _note_empty(over, entry, in_part, empty)
        elif is_image_name(entry.name):
            over.in_no_class += 1
        else:
            over.no_image(entry.name)
    told = over.tell(folder.name)
    if not any(images.values()):
        raise DataError(
            " ".join([f"{folder} has no images in class folders.", *told]),
            "Put one sub-folder for each class in it, named like the class.",
        )
    return ClassFolders(images, told)


def _note_empty(over: PassedOver, entry: os.DirEntry[str], inside: PassedOver, empty: OnBadItem) -> None:
    if empty == "error":
        files = f", only files of other kinds ({inside.kinds()})" if inside.no_images else ""
        raise DataError(
            f"The class folder {entry.path} has no images{files}: the class would vanish.",
            "Put images into it or take it away; --on-bad-item skip leaves it out and says so.",
        )
    over.empty.append(entry.name)


def read_folders(folder: Path, names: Mapping[str, str] | None = None, on_bad_item: OnBadItem = "error") -> Content:
    """Read a folder of class folders.

    Args:
        names: the class name of each folder name, in the order of the classes: all of them are classes, whichever are
            there. None: the folders there are the classes.
        on_bad_item: what to do about a folder without images, where the folders there are the classes.

    Raises:
        DataError: no such folder, no image in it, or a sub-folder that is no class.
    """
    found = class_folders(folder, empty=on_bad_item if names is None else "skip")
    rows = []
    for part, image in found.rows():
        if names is None and (half := half_pair(part)):
            raise DataError(
                f"The name of the class folder {folder / part} is no UTF-8: it holds {half}.",
                "Rename the folder: prompts are made of its name.",
            )
        if names is not None and part not in names:
            raise DataError(
                f"{folder} has a folder '{part}', which is no class of this set.{did_you_mean(part, names)}",
                "Restore the set's own folder names.",
            )
        rows.append((image, part, f"{folder.name}/{image.relative_to(folder).as_posix()}"))
    content = labelled(rows, None if names is None else tuple(names), found.warnings)
    if names is None:
        return content
    return Content(content.images, content.labels, content.ids, tuple(names.values()), warnings=found.warnings)
