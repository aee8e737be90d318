"""What a report keeps of its metrics; a part of `editkit.eval/1`."""

from __future__ import annotations

from typing import NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic can read typing's own from Python 3.12 on

from editkit.components.metric import About, Better

# Numbers are numbers and finite; members that this version does not know are kept, so that adding one breaks no reader.
FORM = ConfigDict(strict=True, allow_inf_nan=False, extra="allow", use_attribute_docstrings=True)


@with_config(FORM)
class HubFacts(TypedDict):
    """What the Hub's model-index calls a metric."""

    task: str
    title: str
    kind: NotRequired[str]
    """The metric; absent: its own name."""


@with_config(FORM)
class ClipBenchmarkFacts(TypedDict):
    """Where CLIP Benchmark's JSON holds a metric."""

    task: str
    key: str


@with_config(FORM)
class MetricFacts(TypedDict):
    """What a metric is, so that a report is read without the evaluation that made it."""

    better: Better
    """Which way is better."""
    about: About
    """What it measures; a loss of knowledge or on safe inputs is what an edit cost."""
    headline: NotRequired[bool]
    """Told first: what an edit is made for, or the knowledge to tell of."""
    compared: NotRequired[bool]
    """Also in the table of changes."""
    label: NotRequired[str]
    """The head of its column on the terminal."""
    title: NotRequired[str]
    """What it is called where there is room."""
    seen: NotRequired[str]
    """What is counted, as a user sees it, out of `out_of`."""
    out_of: NotRequired[str]
    aside: NotRequired[bool]
    """Whether it has no column in the table of rates."""
    group: NotRequired[str]
    """Columns that are kept side by side."""
    column: NotRequired[str]
    """The column of the paper's tables that it stands in, or a name of its own."""
    latex: NotRequired[str]
    """The head of its column in LaTeX."""
    of_data: NotRequired[bool]
    """Whether its column says of which data it is."""
    hub: NotRequired[HubFacts]
    clip_benchmark: NotRequired[ClipBenchmarkFacts]
