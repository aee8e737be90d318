"""The JSON object `editkit.eval/1`, written down once: evaluations return it, runs are kept as it, reading checks it.

`python -m editkit.reports.schema` prints it as a JSON Schema, which is `docs/eval-schema.json`.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic can read typing's own from Python 3.12 on

from editkit.reports.metric_schema import FORM, MetricFacts

SCHEMA: Final = "editkit.eval/1"

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


def _in_order(numbers: Any) -> Any:
    if not numbers["low"] <= numbers["high"]:
        raise ValueError(f"low {numbers['low']:g} is above high {numbers['high']:g}")
    return numbers


def _is_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("has no time zone")
    return text


def _has_a_base(report: Any) -> Any:
    for part in report.get("sets", ()):
        _has_a_base(part)
    base = report["models"][0]
    if base["difference"]:
        raise ValueError("models.0 is the base, which has no difference to itself")
    for row in (*report["models"], *report["controls"]):
        if unknown := row["difference"].keys() - base["metrics"].keys():
            raise ValueError(f"'{row['name']}' differs from the base in {min(unknown)}, which the base does not have")
    return report


@with_config(FORM)
class Rate(TypedDict):
    """A metric of one model, with its 95 % interval."""

    value: float
    """A rate in per cent: the share of the n items that meet the metric. Of a score, its mean over them."""
    low: float
    """Lower end of the interval: Wilson's for a rate."""
    high: float
    """Upper end of it."""
    n: Count
    """How many items were measured."""


@with_config(FORM)
class Difference(TypedDict):
    """A metric minus the base's on the same items."""

    value: float
    """A difference of rates in points."""
    low: float
    """Lower end of the 95 % interval: Tango's for a rate. It reaches to 0 unless p is below 0.05."""
    high: float
    """Upper end of it."""
    p: Probability
    """Two-sided p that there is no difference: McNemar's mid-p for a rate."""
    holm: NotRequired[Probability]
    """p, corrected by Holm's method for all metrics of the model but the primary one; absent for that one."""


Ordered = Annotated[Rate, AfterValidator(_in_order)]
OrderedDifference = Annotated[Difference, AfterValidator(_in_order)]


@with_config(FORM)
class Example(TypedDict):
    """An item for which a metric rose."""

    item: str
    """The text itself, or the id of an image."""
    before: float
    """Of the base, in per cent."""
    after: float
    """Of the model, in per cent."""


@with_config(FORM)
class Row(TypedDict):
    """One model: the base, an edit of it, or a control; of `editkit judge`, one table or folder of items."""

    name: str
    """What tables call it."""
    patch: str | None
    """The patch that was laid over the base. Of a control: the patch that it is matched to, or null for every one."""
    metrics: dict[str, Ordered]
    """By name."""
    difference: dict[str, OrderedDifference]
    """By metric; empty for the base."""
    by_concept: dict[str, dict[str, Ordered]]
    """By concept (the class, for labelled images), then by metric."""
    examples: NotRequired[dict[str, list[Example]]]
    """By metric: the items for which it rose most against the base."""
    overlap: NotRequired[float]
    """Of a control that changes other weights: the share of them, from 0 to 1, that the edit changes too."""


@with_config(FORM)
class Apart(TypedDict):
    """What the edits of both towers do in one of them alone."""

    models: list[Row]
    """Of each edit, its part in this tower."""
    controls: list[Row]
    """Of each control, its part in it."""


@with_config(FORM)
class DataFacts(TypedDict):
    """Items that were evaluated."""

    name: str
    """Data set and split."""
    fingerprint: str
    """sha256 over captions and image bytes: numbers with different fingerprints come from different data."""
    n: Count
    """How many items were measured."""


@with_config(FORM)
class Detection(TypedDict):
    """How many of the evaluated items of one modality something flags."""

    detected: Ordered
    """Of the unsafe ones."""
    false_positives: Ordered
    """Of the safe ones."""


@with_config(FORM)
class FilteredEdit(TypedDict):
    """An edit beside the linear filter."""

    name: str
    """As its row in `models`."""
    patch: str | None
    difference: dict[str, OrderedDifference]
    """Its metrics minus those of the filter."""
    detection: dict[str, Detection]
    """By modality that it moves: items that it moves further than 99 % of the safe calibration items."""


@with_config(FORM)
class FilterFacts(TypedDict):
    """A linear filter on the base's embeddings, which hides what it flags; and the edits beside it."""

    model: Row
    """The base with this filter, against the base."""
    calibration: DataFacts
    """The pairs that it was fitted to."""
    shrinkage: dict[str, float]
    """By modality: of its covariance towards a multiple of the identity, from 0 to 1."""
    detection: dict[str, Detection]
    """By modality: what it flags, more than 1 % of the safe calibration items never."""
    edits: list[FilteredEdit]


@with_config(FORM)
class Omission(TypedDict):
    """An item that was not evaluated."""

    id: str
    reason: str


@with_config(FORM)
class ModelFacts(TypedDict):
    """The base model."""

    source: str
    """As it was asked for: a folder, a hub id, `open_clip:NAME/TAG`."""
    family: str
    identity: str
    """sha256 over all its tensors."""
    commit: NotRequired[str]
    """Of the hub, where the model is the hub's."""


@with_config(FORM)
class PatchFacts(TypedDict):
    """A patch that was evaluated."""

    patch: str
    """Its folder, as in `models[].patch`."""
    digest: str
    """sha256 of its patch.safetensors."""
    recipe: dict[str, Any] | None
    """How it was made, where its record says so."""


@with_config(FORM)
class ComponentFacts(TypedDict):
    """Where a component comes from."""

    kind: str
    name: str
    distribution: str
    """What is installed, or the name of a plugin file."""
    version: str
    """Empty for a plugin file."""
    digest: str | None
    """sha256 over the modules of its distribution; null: they could not be read, or were changed while they ran."""


@with_config(FORM)
class RunFacts(TypedDict):
    """What the numbers depend on: the same run gives the same report."""

    model: ModelFacts
    patches: list[PatchFacts]
    data: dict[str, Any]
    """Name of the data set and the options that were set."""
    selection: dict[str, Any]
    """Which of its items: split, limit, per_concept, concepts and seed."""
    options: dict[str, Any]
    """Those of the evaluation."""
    precision: dict[str, str]
    """dtype of the weights, and autocast where it was used."""
    device: str
    versions: dict[str, str]
    """Of Python, editkit and the libraries that numbers depend on."""
    components: NotRequired[list[ComponentFacts]]
    """What was used: the evaluation, the data set, the adapter, judges."""


@with_config(FORM)
class Report(TypedDict):
    """What one evaluation measured of a base model, edits of it and their controls."""

    schema: Literal["editkit.eval/1"]
    """Name and version of this schema."""
    evaluation: str
    title: NotRequired[str]
    """What tables call the evaluation."""
    items: NotRequired[str]
    """What its items are: tuples, images."""
    primary: NotRequired[str]
    """The metric by which it is judged whether an edit changed anything; its p is not corrected."""
    metrics: NotRequired[dict[str, MetricFacts]]
    """What each metric is, in the order in which changes are told; absent in older reports."""
    data: DataFacts
    chance: dict[str, dict[str, float]]
    """What a model that knows nothing scores, in per cent: by kind ("independent", "collapsed"), then by metric."""
    models: Annotated[list[Row], Field(min_length=1)]
    """The base, then the edits."""
    controls: list[Row]
    """Other changes of the same size, matched to the edits."""
    apart: NotRequired[dict[str, Apart]]
    """By tower: the edits of both, and their controls, one tower at a time."""
    wrecked: NotRequired[list[Row]]
    """The model destroyed on purpose: weights drawn anew at the sites of each edit, and everywhere."""
    filter: NotRequired[FilterFacts]
    """What a linear filter does without any edit."""
    left_out: list[Omission]
    warnings: list[str]
    notes: NotRequired[list[str]]
    """How the model and the data were found, where that is not plain, and what could not be measured."""
    beside: NotRequired[dict[str, DataFacts]]
    """The data of those metrics that were measured on other items than `data`."""
    run: NotRequired[RunFacts]
    """What the numbers depend on."""
    content: NotRequired[Literal["text", "image"]]
    """Of `editkit judge`: what was judged. Its rows are tables and folders, and no models."""
    created: NotRequired[Annotated[str, AfterValidator(_is_time)]]
    """When the report was written: ISO 8601 with a time zone. Only in files."""
    profile: NotRequired[str]
    """Of a benchmark of several sets of labelled images: which one. Its own rows are means over sets."""
    of: NotRequired[Count]
    """How many sets the profile has."""
    sets: NotRequired[list[SetReport]]
    """The report of each set that was measured; without a `profile`, of each slice: then the report's own rows are of
    the tuples as they come."""
    missing: NotRequired[list[Omission]]
    """The profile's other sets, by key."""


@with_config(FORM)
class SetReport(Report):
    """The report of one set of a benchmark, or of one slice."""

    key: str
    """What the profile calls the set; the name of the slice."""
    paper: str
    """Its column in the paper's table of accuracies; empty for a slice."""


@cache
def checker() -> TypeAdapter[Report]:
    """Return what reads and checks a report."""
    return TypeAdapter(Annotated[Report, AfterValidator(_has_a_base)])


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report."""
    made = checker().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{SCHEMA}", **made}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
