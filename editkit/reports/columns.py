"""In which order tables show metrics: as the paper prints them, and then whatever else was measured.

Source: Safe Vision-Language Models via Unsafe Weights Manipulation, WACV 2026, tables 1, 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from editkit.components.metric import Better

ACCURACY = "zs_mean_acc"
"""What the paper calls zero-shot accuracy where it stands beside safety."""
MEAN = "Mean"
"""And where it stands beside the accuracies that it is the mean of."""

SAFETY = (
    ACCURACY,
    "Ts-Vs",
    "Vs-Ts",
    "Tu-Vu+s",
    "Vu-Tu+s",
    "P_s^t",
    "P_u^t",
    "P_s^v",
    "P_u^v",
    "Txt_s",
    "Img_s",
    "PS",
    "PU",
    "GS",
)
KNOWLEDGE = (
    "ImageNet",
    "V2",
    "R",
    "A",
    "Sketch",
    "CAL",
    "PETS",
    "FOOD",
    "FLWR",
    "C10",
    "C100",
    "ESAT",
    "CARS",
    "AIR",
    "DTD",
    "SUN",
    "UCF",
    MEAN,
)
CAPTIONS = ("pct_NSFW", "Toxicity", "RougeL", "Bleu", "Meteor")
PAPER = (*SAFETY, *KNOWLEDGE, *CAPTIONS)


@dataclass(frozen=True)
class Column:
    """A column of a table over several reports."""

    name: str
    """Its head, and what it is chosen by."""
    stands_in: str = ""
    """The column of the paper's tables in whose place it stands; one of `PAPER`, or of an evaluation of its own."""
    latex: str = ""
    better: Better = "more"
    headline: bool = False
    of_data: bool = False
    """Whether it is of labelled images, which have lines of their own where no tuples were measured."""

    @property
    def place(self) -> int:
        """Its place in the paper's order."""
        return PAPER.index(self.stands_in) if self.stands_in in PAPER else len(PAPER)


def in_paper_order(columns: Iterable[Column]) -> list[Column]:
    """Return the columns of each name once: the paper's tables' in their order, then the others as they appear."""
    once: dict[str, Column] = {}
    for column in columns:
        once.setdefault(column.name, column)
    return sorted(once.values(), key=lambda column: column.place)


def beside_safety(column: Column) -> Column:
    """Return a column as it stands in a table with safety: there the mean accuracy is the first, by another name."""
    return replace(column, name=ACCURACY, stands_in=ACCURACY, latex="Acc.") if column.name == MEAN else column


def printed(columns: Sequence[Column]) -> list[Column]:
    """Return what a page has room for: the paper's first table, or its others; and what the paper does not have.

    Of the latter those that say in which column they stand, and headlines; all columns where none is left.
    """
    first = [column for column in columns if column.stands_in in SAFETY]
    whole = any(column.name == ACCURACY for column in first)  # then no accuracy on a single set stands beside it
    first = [column for column in first if column.name in SAFETY or not whole]
    others = [column for column in columns if column.stands_in in PAPER]
    own = [column for column in columns if column.stands_in not in PAPER and (column.stands_in or column.headline)]
    return [*(first if any(column.name in SAFETY for column in first) else others), *own] or list(columns)
