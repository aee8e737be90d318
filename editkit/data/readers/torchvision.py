"""Sets that torchvision reads: its classes find the files and the labels, and no image is decoded here.

CIFAR's files are pickles. torchvision compares the MD5 of each with that of the published file before it opens it, so
nothing but the published bytes is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from editkit.data.readers.content import Content, labelled
from editkit.data.readers.images import ImageBytes, ImageSource
from editkit.errors import DataError, InstallError, one_line


def read_torchvision(
    root: Path, dataset: str, arguments: Mapping[str, Any], each: Mapping[str, Sequence[Any]] | None = None
) -> Content:
    """Read a set by its class in torchvision.datasets.

    Args:
        root: the folder that the class is given as `root`.
        each: arguments with several values; the set is all of them, one after the other.

    Raises:
        DataError: torchvision cannot read what is there.
        InstallError: no torchvision, or one that is too old.
    """
    try:
        from torchvision import datasets
    except ImportError as error:
        raise InstallError(
            f"{dataset} is read by torchvision, which is not installed.", "Install torchvision."
        ) from error
    rows: list[tuple[ImageSource, str, str]] = []
    names: dict[str, None] = {}
    for values in product(*(each or {}).values()):
        chosen = dict(zip(each or {}, values, strict=True))
        prefix = "".join(f"{value}/" for value in values)
        found, of_part = _read(getattr(datasets, dataset), root, {**arguments, **chosen})
        names |= dict.fromkeys(of_part)
        # sorted: SUN397 comes in the file system's order
        rows += sorted(((image, name, f"{prefix}{where}") for image, name, where in found), key=lambda row: row[2])
    return labelled(rows, tuple(sorted(names)) if each else tuple(names))


def _read(
    kind: Any, root: Path, arguments: Mapping[str, Any]
) -> tuple[list[tuple[ImageSource, str, str]], Sequence[str]]:
    reader = {"Caltech101": _caltech, "OxfordIIITPet": _pets, "CIFAR10": _cifar, "CIFAR100": _cifar}
    try:
        if kind.__name__ in reader:
            data = kind(root, **arguments)
            return reader[kind.__name__](data, root)
        data = kind(root, **arguments, loader=Path)  # an image is its path
        return [
            (path, data.classes[label], path.relative_to(root).as_posix())
            for path, label in (data[number] for number in range(len(data)))
        ], data.classes
    except ImportError as error:
        raise InstallError(f"torchvision's {kind.__name__}: {error}.", "Run `pip install scipy`.") from error
    except (TypeError, AttributeError) as error:
        raise InstallError(
            f"This torchvision's {kind.__name__} cannot be asked for paths and class names: {one_line(error)}.",
            "Run `pip install --upgrade torchvision`, to the one that fits your torch.",
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        if "scipy" in str(error).lower():
            raise InstallError(
                f"{kind.__name__} needs SciPy for its .mat files.", "Run `pip install scipy`."
            ) from error
        raise DataError(
            f"torchvision's {kind.__name__} cannot read {root}: {one_line(error)}.",
            "Unpack the set again; docs/zeroshot.md shows how it has to lie.",
        ) from error


def _caltech(data: Any, root: Path) -> tuple[list[tuple[ImageSource, str, str]], Sequence[str]]:
    folder = Path(data.root) / "101_ObjectCategories"
    rows: list[tuple[ImageSource, str, str]] = []
    for number, label in zip(data.index, data.y, strict=True):
        name = data.categories[label]
        path = folder / name / f"image_{number:04d}.jpg"
        rows.append((path, name, path.relative_to(root).as_posix()))
    return rows, data.categories


def _pets(data: Any, root: Path) -> tuple[list[tuple[ImageSource, str, str]], Sequence[str]]:
    # its classes are those there, in the order of their labels, which in a partial copy have gaps
    names = dict(zip(sorted(set(data._labels)), data.classes, strict=True))
    pairs = zip(data._images, data._labels, strict=True)
    return [(path, names[label], path.relative_to(root).as_posix()) for path, label in pairs], data.classes


def _cifar(data: Any, root: Path) -> tuple[list[tuple[ImageSource, str, str]], Sequence[str]]:
    rows = [
        (image, data.classes[label], image.name)
        for image, label in zip(_encoded(data.data, data.base_folder), data.targets, strict=True)
    ]
    return list(rows), data.classes


def _encoded(pixels: Any, name: str) -> Iterator[ImageBytes]:
    """Yield arrays [32, 32, 3] as PNG, which loses nothing."""
    from PIL import Image

    for number, image in enumerate(pixels):
        stream = BytesIO()
        Image.fromarray(image).save(stream, format="png")
        yield ImageBytes(stream.getvalue(), f"{name}/{number:05d}")
