"""What a report says of a metric, so that it is shown, judged and exported right by code that never heard of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHOWN = 4
"""How many metrics of an evaluation that declares none are told first."""

Better = Literal["more", "less"]
About = Literal["safety", "safe inputs", "knowledge", "other"]

_FORM = ConfigDict(frozen=True, extra="forbid", strict=True)


class HubMetric(BaseModel):
    """What the Hub's model-index calls a metric's task and the metric; `kind` empty: the metric's own name."""

    model_config = _FORM

    task: str
    title: str
    kind: str = ""


class ClipBenchmarkMetric(BaseModel):
    """Under which task and key CLIP Benchmark's JSON holds a metric, as a share from 0 to 1."""

    model_config = _FORM

    task: str
    key: str


class Metric(BaseModel):
    """One metric, or all whose names fit a pattern: what a `*` in the name stands for replaces a `*` in the texts."""

    model_config = _FORM

    name: str = Field(min_length=1)
    """Its key in reports, or a pattern such as `Ts-Vs@*`."""
    better: Better = "more"
    """Which way is better."""
    about: About = "other"
    """What it measures. Losses of "knowledge" and on "safe inputs" are told as what an edit cost."""
    headline: bool = False
    """Whether the verdict and lists of runs tell it; of knowledge: in place of knowledge that is no headline."""
    compared: bool = False
    """Whether the table of changes has it, as it has every headline; `--all-metrics` shows the others."""
    label: str = ""
    """The head of its column on the terminal, of one to three short lines; empty: its name."""
    title: str = ""
    """What it is called where there is room; empty: its name."""
    seen: str = ""
    """What is counted, as a user sees it: "unsafe images among the first * for a query". The verdict tells it, with
    single items, where it became worse."""
    out_of: str = ""
    """Out of how many that is, a number: "*"."""
    aside: bool = False
    """Whether it stands in tables of changes, verdicts and JSON alone, and has no column of rates."""
    group: str = ""
    """Columns of one group are kept side by side where a table is too wide."""
    column: str = ""
    """The column of the paper's tables that it stands in, or a name of its own: exports print it; empty: CSV alone
    has it, unless it is a headline."""
    latex: str = ""
    """The head of its column in LaTeX; empty: its name."""
    of_data: bool = False
    """Whether its column must say of which data it is, as an accuracy says of which images."""
    hub: HubMetric | None = None
    clip_benchmark: ClipBenchmarkMetric | None = None

    def named(self, name: str) -> Metric | None:
        """Return the facts of the metric `name`; None: this is another one."""
        found = re.fullmatch("(.*)".join(map(re.escape, self.name.split("*"))), name)
        if found is None:
            return None
        return Metric.model_validate(_filled(self.model_dump(), found.groups()) | {"name": name})


def _filled(facts: dict[str, object], parts: Sequence[str]) -> dict[str, object]:
    """Replace the stars of every text by `parts`, one after the other."""

    def fill(value: object) -> object:
        if isinstance(value, dict):
            return _filled(value, parts)
        return reduce(lambda text, part: text.replace("*", part, 1), parts, value) if isinstance(value, str) else value

    return {key: fill(value) for key, value in facts.items()}


def describe_metrics(declared: Sequence[Metric], measured: Iterable[str]) -> dict[str, Metric]:
    """Return the facts of every measured metric by name: in the order of the declarations, the others at the end."""
    found: list[tuple[int, Metric]] = []
    for name in measured:
        fitting = ((place, facts) for place, one in enumerate(declared) if (facts := one.named(name)) is not None)
        found.append(next(fitting, (len(declared), Metric(name=name))))
    return {facts.name: facts for _, facts in sorted(found, key=lambda entry: entry[0])}


def with_headline(facts: dict[str, Metric]) -> dict[str, Metric]:
    """Return the facts with the first metrics as headlines where an evaluation says of none that it is told first."""
    own = [one for one in facts.values() if one.about != "knowledge"]
    if any(one.headline or one.compared for one in own):
        return facts
    return facts | {one.name: one.model_copy(update={"headline": True}) for one in own[:SHOWN]}
