"""The contract of a data set, clause by clause, and `check_dataset`, which holds one to it on data of its author's.

The clauses are `CLAUSES`, in the order in which they run, after `what_cannot_be_loaded_says_why`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.specs import DatasetSpec
from editkit.data.classes import ClassSet
from editkit.data.protocol import AnyData, Dataset
from editkit.data.queries import KINDS, QuerySet
from editkit.data.readers.images import ImageBytes, ImageSource
from editkit.data.tuples import Item, LeftOut, TupleSet
from editkit.data.zeroshot.sets import ClassSets
from editkit.errors import DataError, EditkitError
from editkit.files.paths import user_path
from editkit.recipes.recipe import default_split
from editkit.testing.contract import (
    DEFAULTS,
    BreachError,
    Given,
    build,
    called,
    chosen,
    hold,
    refusal,
    require,
    require_here,
)

NOWHERE = "no such place"
OneSet = TupleSet | ClassSet | QuerySet


def check_dataset(
    dataset: str | DatasetSpec, options: Given = DEFAULTS, *, split: str | None = None, host: Host | None = None
) -> None:
    """Hold a data set to its contract on one split; every image is read, none is decoded.

    An item that cannot be used is worth having among the data, with `on_bad_item="skip"` among the options.

    Args:
        dataset: the name it is registered under, or its spec.
        options: the data set's options by name, such as its path.
        split: None: the one that evaluations use.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        UncheckedError: the data set says that it cannot be loaded.
        PluginError: no such data set.
        RecipeError: an option it does not take.
    """
    choice = chosen(DatasetSpec, dataset, options, host or default_host())
    case = Case(choice, split or default_split(choice, "eval")["calibration.split"])
    hold(called(choice), (what_cannot_be_loaded_says_why,), case)
    require_here(case.refused)
    hold(called(choice), CLAUSES, case)


@dataclass
class Case:
    """A data set and one of its splits."""

    choice: Choice
    split: str
    remembered: dict[str, str] = field(default_factory=dict)
    """Digests of image files, so that each is read once."""

    @cached_property
    def refused(self) -> EditkitError | None:
        """Why it cannot be loaded."""
        return refusal(self.load)

    @cached_property
    def data(self) -> AnyData:
        """The split."""
        return self.load()

    @property
    def sets(self) -> list[OneSet]:
        """What the split holds: itself, or each of several sets."""
        return sets_of(self.data)

    def load(self) -> AnyData:
        """Load the split by a new object."""
        return self.changed({}).load(self.split)

    def changed(self, options: Mapping[str, object]) -> Dataset:
        """Return a new object with some options changed."""
        given = self.choice.options.model_copy(update=dict(options))
        return cast(Dataset, build(replace(self.choice, options=given)))

    def fingerprints(self, data: AnyData) -> list[str]:
        """Return what tells one state of the data from another."""
        return [one.fingerprint(self.remembered) for one in sets_of(data)]


def what_cannot_be_loaded_says_why(case: Case) -> None:
    """`load` raises a DataError, or another EditkitError, if it raises anything."""
    if case.refused is None:
        case.data  # noqa: B018  what it raises is found


def a_split_is_what_content_says(case: Case) -> None:
    """`load` returns a TupleSet, with `content="classes"` a ClassSet or ClassSets, with "queries" a QuerySet, and it is
    not empty."""
    wanted: dict[str, tuple[type, ...]] = {
        "tuples": (TupleSet,),
        "classes": (ClassSet, ClassSets),
        "queries": (QuerySet,),
    }
    require(
        isinstance(case.data, wanted[cast(DatasetSpec, case.choice.spec).content]),
        f"it is a {type(case.data).__name__}",
    )
    for one in case.sets:
        require(isinstance(one.name, str) and bool(one.name), f"it is called {one.name!r}")
        require(bool(_ids(one)), f"{one.name} is empty")


def items_are_complete(case: Case) -> None:
    """What there is of an item has the type that `Item` says; each labelled image has the label of one of the classes,
    and every template a place for its name; each query has a text or an image, and one of the kinds or none."""
    for one in case.sets:
        if isinstance(one, TupleSet):
            _require_items(one)
            continue
        if isinstance(one, QuerySet):
            _require_queries(one)
            continue
        sizes = {len(one.images), len(one.labels), len(one.ids)}
        require(len(sizes) == 1, f"{len(one.images)} images have {len(one.labels)} labels and {len(one.ids)} ids")
        strange = [label for label in one.labels if not 0 <= label < len(one.classes)]
        require(not strange, f"label {strange[:1]} is of none of {len(one.classes)} classes")
        require(all("{}" in template for template in one.templates), f"templates are {one.templates}")
        require(all(isinstance(image, ImageSource) for image in one.images), "an image is no path and no ImageBytes")


def images_are_there(case: Case) -> None:
    """Every image is a file that exists, or bytes; it is not opened before it is needed."""
    for one in case.sets:
        for image in _images(one):
            require(isinstance(image, ImageBytes) or image.is_file(), f"there is no file {image}")


def ids_are_unique(case: Case) -> None:
    """No two tuples or queries have one id; of labelled images an id is that of one image."""
    for one in case.sets:
        if isinstance(one, TupleSet | QuerySet):
            twice = [name for name, count in Counter(_ids(one)).items() if count > 1]
        else:
            named = dict(zip(one.ids, one.images, strict=True))
            twice = [name for name, image in zip(one.ids, one.images, strict=True) if named[name] != image]
        require(not twice, f"{len(twice)} ids are those of several items, first '{''.join(twice[:1])}'")


def loading_twice_gives_the_same(case: Case) -> None:
    """Another load of the split has the same items in the same order, with the same fingerprint."""
    again = case.load()
    require(list(map(_ids, sets_of(again))) == list(map(_ids, case.sets)), "ids, or their order, differ")
    require(case.fingerprints(again) == case.fingerprints(case.data), "fingerprints differ")


def an_unknown_split_is_a_data_error(case: Case) -> None:
    """A split that does not exist is a DataError; a data set without splits ignores the name."""
    try:
        found = case.changed({}).load(NOWHERE)
    except DataError:
        return
    same = case.fingerprints(found) == case.fingerprints(case.data)
    require(same, f"'{NOWHERE}' is loaded, and is not '{case.split}'")


def a_missing_path_is_a_data_error(case: Case) -> None:
    """Where a file or folder that an option names does not exist, `load` raises a DataError; building reads nothing."""
    for name, value in case.choice.options:
        place = Path(value) if isinstance(value, Path) or (isinstance(value, str) and "/" in value) else None
        if place is None or not user_path(place).exists():
            continue
        missing = place.parent / NOWHERE
        without = case.changed({name: str(missing) if isinstance(value, str) else missing})
        try:
            without.load(case.split)
        except DataError:
            continue
        except Exception as error:
            raise BreachError(f"{name} = {missing} raises {type(error).__name__}: {error}") from error
        raise BreachError(f"{name} = {missing} is loaded")


def an_unusable_item_stops_or_is_left_out(case: Case) -> None:
    """With `on_bad_item="error"` nothing is left out: it is a DataError; with "skip" what is left out is named."""
    strict, lenient = (_attempt(case, way) for way in ("error", "skip"))
    if isinstance(strict, DataError):
        named = isinstance(lenient, DataError) or bool(_left_out(lenient))
        require(named, f"'error' stops at an item ({strict.problem}), and 'skip' names none")
    else:
        require(not _left_out(strict), f"'error' leaves out {_left_out(strict)[:1]}")


def sets_of(data: AnyData) -> list[OneSet]:
    """Return the sets that data consist of."""
    return [named.data for named in data.sets] if isinstance(data, ClassSets) else [data]


def _attempt(case: Case, way: str) -> AnyData | DataError:
    try:
        return case.changed({"on_bad_item": way}).load(case.split)
    except DataError as error:
        return error


def _left_out(data: AnyData) -> list[LeftOut]:
    return [entry for one in sets_of(data) for entry in one.left_out]


def _ids(one: OneSet) -> list[str]:
    return [item.id for item in one.items] if isinstance(one, TupleSet) else list(one.ids)


def _images(one: OneSet) -> Iterator[ImageSource]:
    if isinstance(one, ClassSet | QuerySet):
        yield from (image for image in one.images if image is not None)
        return
    for item in one.items:
        yield from (image for image in (item.safe_image, item.unsafe_image) if image is not None)


def _require_items(one: TupleSet) -> None:
    for item in one.items:
        require(isinstance(item, Item), f"a {type(item).__name__} is among the items")
        types = {"id": str, "concept": str, "slice": str, "safe_text": str | None, "unsafe_text": str | None}
        types |= {"safe_image": ImageSource | None, "unsafe_image": ImageSource | None}
        for name, wanted in types.items():
            value = getattr(item, name)
            require(isinstance(value, wanted), f"{name} of '{item.id}' is {value!r}")


def _require_queries(one: QuerySet) -> None:
    sizes = {len(column) for column in (one.ids, one.texts, one.images, one.kinds, one.slices)}
    require(len(sizes) == 1, f"its columns have {sorted(sizes)} rows")
    for name, text, image, kind in zip(one.ids, one.texts, one.images, one.kinds, strict=True):
        require(bool(text) or image is not None, f"'{name}' has neither text nor image")
        require(kind in ("", *KINDS), f"kind of '{name}' is {kind!r}")


CLAUSES: tuple[Callable[[Case], None], ...] = (
    a_split_is_what_content_says,
    items_are_complete,
    images_are_there,
    ids_are_unique,
    loading_twice_gives_the_same,
    an_unknown_split_is_a_data_error,
    a_missing_path_is_a_data_error,
    an_unusable_item_stops_or_is_left_out,
)
