"""What a reader finds on disk: labelled images, and the names of their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from editkit.data.readers.images import ImageBytes, ImageSource


@dataclass(frozen=True)
class Content:
    """Images in file order; `labels` are indices into `names`, `ids` say which image is meant.

    `templates`: prompts with "{}" for the class, where they lie beside the images.
    """

    images: tuple[ImageSource, ...]
    labels: tuple[int, ...]
    ids: tuple[str, ...]
    names: tuple[str, ...]
    templates: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What lies there too and was not taken, with its count."""


class LazyImage(ImageBytes):
    """An encoded image whose bytes are read when asked for, so a large set takes no more memory than its names."""

    _read: Callable[[], bytes]

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        """Keep a name, and a function that can be sent to worker processes."""
        object.__setattr__(self, "name", name)  # the base is frozen
        object.__setattr__(self, "_read", read)

    @property
    def data(self) -> bytes:
        """The bytes, read from the disk each time."""
        return self._read()


def labelled(
    found: Iterable[tuple[ImageSource, str, str]], names: Sequence[str] | None = None, warnings: tuple[str, ...] = ()
) -> Content:
    """Make content of (image, class, id).

    Args:
        names: every class, in order; None: those found, sorted.
        warnings: what was not taken.
    """
    rows = list(found)
    known = tuple(sorted({name for _, name, _ in rows}) if names is None else names)
    index = {name: position for position, name in enumerate(known)}
    return Content(
        tuple(image for image, _, _ in rows),
        tuple(index[name] for _, name, _ in rows),
        tuple(identifier for _, _, identifier in rows),
        known,
        warnings=warnings,
    )
