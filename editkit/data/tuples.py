"""Tuples: a safe and an unsafe image, a safe and an unsafe caption, and the concept that sets them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from editkit.data.digests import Remembered, image_digests
from editkit.data.draw import check_limit, draw_order
from editkit.data.readers.images import ImageSource
from editkit.errors import DataError, did_you_mean
from editkit.files.digests import digest_of, fingerprint_of

SHORT = 12  # hex digits of a digest in a record: 48 bits, enough to find the same tuple in another set


@dataclass(frozen=True)
class Item:
    """One tuple; what a data set lacks is None, and an empty caption is an empty string."""

    id: str
    safe_image: ImageSource | None
    unsafe_image: ImageSource | None
    safe_text: str | None
    unsafe_text: str | None
    concept: str
    slice: str = ""
    """What a robustness evaluation tells it by, "GROUP: NAME" such as `wording: typo`; empty: it is in no slice."""

    @property
    def has_images(self) -> bool:
        """Both images are there, so the tuple serves the vision tower."""
        return self.safe_image is not None and self.unsafe_image is not None

    @property
    def has_texts(self) -> bool:
        """Both captions are there and not empty, so the tuple serves the text tower."""
        return bool(self.safe_text) and bool(self.unsafe_text)


@dataclass(frozen=True)
class LeftOut:
    """An item that cannot be used, or not for everything, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class TupleSet:
    """Tuples of one split, in the order of their file.

    `left_out` also names items that are still in `items` but lack an image: they serve the text tower.
    `aliases` maps other spellings of a concept, in lower case, to the one in the data.
    """

    name: str
    split: str
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def has_images(self) -> bool:
        """At least one tuple has both images."""
        return any(item.has_images for item in self.items)

    @property
    def has_texts(self) -> bool:
        """At least one tuple has both captions."""
        return any(item.has_texts for item in self.items)

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts that occur, in alphabetical order."""
        return tuple(sorted({item.concept for item in self.items}))

    @property
    def slices(self) -> tuple[str, ...]:
        """The slices that occur, in the order in which they first do."""
        return tuple(dict.fromkeys(item.slice for item in self.items if item.slice))

    def select(
        self,
        concepts: Sequence[str] | None = None,
        limit: int | None = None,
        per_concept: int | None = None,
        seed: int = 0,
    ) -> TupleSet:
        """Draw tuples once: those of `concepts`, at most `per_concept` of each, then at most `limit`; in file order.

        Raises:
            DataError: a concept that does not occur, a limit below 1, or no tuple to choose from.
        """
        check_limit("limit", limit)
        check_limit("per_concept", per_concept)
        wanted = self._wanted(concepts)
        kept: list[int] = []
        drawn: Counter[str] = Counter()
        for position in draw_order([item.id for item in self.items], seed):
            concept = self.items[position].concept
            if concept in wanted and (per_concept is None or drawn[concept] < per_concept):
                drawn[concept] += 1
                kept.append(position)
        chosen = [self.items[position] for position in sorted(kept[:limit])]
        if not chosen:
            raise DataError(
                f"No tuple of {self.name}, split {self.split}, is left to use.", "Name other concepts or data."
            )
        return self._with_items(chosen)

    def whole(self) -> TupleSet:
        """Keep the tuples that have both images and both captions; name the others in `left_out`.

        Raises:
            DataError: no tuple is whole.
        """
        whole = [item for item in self.items if item.has_images and item.has_texts]
        if not whole:
            lacking = "images" if self.has_texts else "captions" if self.has_images else "images and captions"
            raise DataError(
                f"No tuple of {self.name}, split {self.split}, is whole: {lacking} are missing.",
                "An evaluation compares two images with two captions: use data that have all four.",
            )
        named = {entry.id for entry in self.left_out}
        broken = [item for item in self.items if not (item.has_images and item.has_texts) and item.id not in named]
        more = tuple(LeftOut(item.id, _lack(item)) for item in broken)
        return replace(self, items=tuple(whole), left_out=self.left_out + more)

    def digests(self, remembered: Remembered | None = None) -> tuple[str, ...]:
        """Return 12 hex digits for each tuple, of its captions and the bytes of its images, not of id or concept.

        Args:
            remembered: digests of image files from before (see `datasets.digests`); new ones are added.

        Raises:
            DataError: an image file is missing or cannot be read.
        """
        return tuple(digest[:SHORT] for digest in self._digests(remembered))

    def fingerprint(self, remembered: Remembered | None = None) -> str:
        """Return the sha256 of the tuples with their ids, concepts and slices, whatever their order."""
        pairs = zip(self.items, self._digests(remembered), strict=True)
        # a tuple in no slice has the digest that it had before there were any
        return fingerprint_of(
            digest_of([item.id, item.concept, digest, *filter(None, [item.slice])]) for item, digest in pairs
        )

    def _digests(self, remembered: Remembered | None) -> list[str]:
        count = len(self.items)
        images = [item.safe_image for item in self.items] + [item.unsafe_image for item in self.items]
        hashes = image_digests(images, remembered)
        return [
            digest_of([item.safe_text, item.unsafe_text, hashes[position], hashes[count + position]])
            for position, item in enumerate(self.items)
        ]

    def _wanted(self, concepts: Sequence[str] | None) -> set[str]:
        """Return the data's spellings of the concepts asked for."""
        if concepts is None:
            return set(self.concepts)
        found: set[str] = set()
        for asked in concepts:
            name = same_spelling(asked)
            name = self.aliases.get(name, name)
            matches = {concept for concept in self.concepts if same_spelling(concept) == name}
            if not matches:
                raise DataError(
                    f"No tuple of {self.name}, split {self.split}, has the concept '{asked}'."
                    f"{did_you_mean(name, self.concepts)}",
                    f"Concepts there: {', '.join(self.concepts)}.",
                )
            found |= matches
        return found

    def _with_items(self, items: Sequence[Item]) -> TupleSet:
        """Narrow to `items`, dropping what was noted about tuples that were not drawn."""
        passed_over = {item.id for item in self.items} - {item.id for item in items}
        left_out = tuple(entry for entry in self.left_out if entry.id not in passed_over)
        return replace(self, items=tuple(items), left_out=left_out)


def same_spelling(concept: str) -> str:
    """Return a concept as it is compared: in lower case, with single spaces."""
    return " ".join(concept.split()).lower()


def refuse_if_most_are_missing(name: str, left_out: Sequence[LeftOut], total: int, remedy: str) -> None:
    """Stop where skipping would leave a minority: then a path is wrong, not an item.

    Raises:
        DataError: more than half of `total` items are left out; the first is named.
    """
    if 2 * len(left_out) > total:
        first = left_out[0]
        raise DataError(
            f"{name}: {len(left_out)} of {total} items cannot be used, first '{first.id}': {first.reason}.", remedy
        )


def _lack(item: Item) -> str:
    absent = [
        name
        for name, value in (
            ("safe image", item.safe_image),
            ("unsafe image", item.unsafe_image),
            ("safe caption", item.safe_text),
            ("unsafe caption", item.unsafe_text),
        )
        if not value
    ]
    return f"{' and '.join(absent)} missing or empty"
