"""What an edit is to leave as it is: texts and images without a label, taken from any data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never

from editkit.components.site import Tower
from editkit.data.classes import ClassSet
from editkit.data.digests import Remembered, image_digests
from editkit.data.draw import drawn_places
from editkit.data.protocol import AnyData
from editkit.data.queries import QuerySet
from editkit.data.readers.images import ImageSource
from editkit.data.tuples import LeftOut, TupleSet
from editkit.data.zeroshot.sets import ClassSets
from editkit.files.digests import digest_of, fingerprint_of

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Preserved:
    """Texts for the text tower, images for the vision tower: no pairs, each counts alike."""

    texts: tuple[str, ...] = ()
    images: tuple[ImageSource, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the data sets left out, with its count."""

    def __or__(self, other: Preserved) -> Preserved:
        """Return the items of both, each once."""
        texts, images = _once((*self.texts, *other.texts)), _once((*self.images, *other.images))
        return Preserved(texts, images, _once((*self.warnings, *other.warnings)))

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.texts or self.images)

    def of(self, tower: Tower) -> tuple[str, ...] | tuple[ImageSource, ...]:
        """Return the items that one tower sees."""
        return self.texts if tower == "text" else self.images

    def only(self, towers: Iterable[Tower]) -> Preserved:
        """Return what these towers see."""
        seen = set(towers)
        texts, images = self.texts if "text" in seen else (), self.images if "vision" in seen else ()
        return Preserved(texts, images, self.warnings)

    def describe(self) -> dict[str, int]:
        """Return how many there are."""
        return {"texts": len(self.texts), "images": len(self.images)}

    def fingerprint(self, remembered: Remembered | None = None) -> str:
        """Return the sha256 of the texts and of the images' bytes, whatever their order.

        Raises:
            DataError: an image file is missing or cannot be read.
        """
        images = (digest_of(digest) for digest in image_digests(self.images, remembered))
        return digest_of([fingerprint_of(map(digest_of, self.texts)), fingerprint_of(images)])

    def draw(self, limit: int | None, seed: int) -> Preserved:
        """Draw at most `limit` texts and `limit` images."""
        images = [self.images[place] for place in drawn_places([str(one) for one in self.images], limit, seed)]
        texts = [self.texts[place] for place in drawn_places(self.texts, limit, seed)]
        return Preserved(tuple(texts), tuple(images), self.warnings)


def preserved_of(data: AnyData) -> Preserved:
    """Return what a data set has to preserve.

    Of tuples that is the safe side, of labelled images the images and the prompts of their classes, of queries those
    that are not said to be unsafe.
    """
    if isinstance(data, TupleSet):
        texts = (item.safe_text for item in data.items if item.safe_text)
        images = (item.safe_image for item in data.items if item.safe_image)
        return Preserved(_once(texts), _once(images), _left_out(data.name, data.left_out))
    if isinstance(data, ClassSet):
        told = (*_left_out(data.name, data.left_out), *data.warnings)
        return Preserved(_once(data.prompts()), _once(data.images), told)
    if isinstance(data, QuerySet):
        rows = [(t, i) for t, i, kind in zip(data.texts, data.images, data.kinds, strict=True) if kind != "unsafe"]
        texts, images = (text for text, _ in rows if text), (image for _, image in rows if image)
        return Preserved(_once(texts), _once(images), _left_out(data.name, data.left_out))
    if isinstance(data, ClassSets):
        found = Preserved()
        for one in data.sets:
            found |= preserved_of(one.data)
        return found
    assert_never(data)  # each kind of content is to say here what of it is preserved


def _left_out(name: str, left_out: Sequence[LeftOut]) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"{name}: left out {len(left_out):,}, first '{left_out[0].id}', {left_out[0].reason}.",)


def _once(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(dict.fromkeys(entries))
