"""Class names that the files of a set do not say, from the libraries that keep such lists.

ImageNet's folders are WordNet ids. timm lists the ids of ImageNet, ImageNet-A and ImageNet-R in their order, which is
that of the ids as text; open_clip has the 1000 names that CLIP's authors curated, in the same order. ImageNetV2's
folders are the indices 0 to 999, whose order as text ('0', '1', '10', ...) is the order of its labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from editkit.errors import InstallError

REVERSED = "path-reversed"
"""SUN397: "airfield/outdoor" is asked for as "outdoor airfield"."""


@cache
def imagenet(which: str) -> Mapping[str, str]:
    """Return the class name of each folder name, in the order of the labels.

    Args:
        which: imagenet, imagenet-v2, imagenet-a or imagenet-r.

    Raises:
        InstallError: open_clip or timm is missing.
    """
    names: tuple[str, ...] = tuple(_library("open_clip.zero_shot_metadata", "open_clip_torch").IMAGENET_CLASSNAMES)
    if which == "imagenet-v2":
        return {folder: names[int(folder)] for folder in sorted(map(str, range(len(names))))}
    wnids = _synsets("imagenet_synsets.txt")
    of_wnid = dict(zip(wnids, names, strict=True))
    subset = wnids if which == "imagenet" else _synsets(f"{which.replace('-', '_')}_synsets.txt")
    return {wnid: of_wnid[wnid] for wnid in subset}


def _synsets(file: str) -> list[str]:
    _library("timm.data", "timm")
    return files("timm.data").joinpath("_info", file).read_text().split()


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InstallError(
            f"ImageNet's class names come from the library '{package}', which is not installed.",
            f"Run `pip install {package}`.",
        ) from error
