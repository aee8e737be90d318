"""What is measured beside an evaluation of tuples: other evaluations, and data that go with the tuples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Companion = Literal["queries", "slices", "benign"]
"""What goes with tuples: queries that search them; slices, each measured as a set of the report; class sets of benign
images. A data set names its own by fields of these names."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Another evaluation whose metrics stand beside one's own.

    One of tuples is measured on the same tuples, and on the queries that the data set names (`DatasetSpec.queries`) if
    it measures such; one of labelled images on the class set that it names (`DatasetSpec.knowledge`). The user may ask
    for others.
    """

    evaluation: str
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    """Those of its metrics that are shown, as far as they are measured; empty: all."""
