"""The embedded default of editkit: a small CLIP model and ViSU-like tuples made of emoji art."""

from __future__ import annotations

from pathlib import Path

from editkit.plugin import (
    AdapterSpec,
    ClassesOptions,
    DatasetSpec,
    OnBadItem,
    PairsOptions,
    QueriesOptions,
    VisuOptions,
    hookimpl,
)

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model"
DATA = FOLDER / "data"


class DemoOptions(VisuOptions):
    """The demo's tuples: a ViSU folder that is always at hand, where a bad item is an error."""

    name: str = "demo"
    path: Path = DATA
    on_bad_item: OnBadItem = "error"


class ObjectsOptions(ClassesOptions):
    """The objects in the demo's safe test images."""

    path: str | Path = DATA / "objects.yaml"


class UnsafeObjectsOptions(ClassesOptions):
    """The objects in the demo's unsafe test images."""

    path: str | Path = DATA / "unsafe-objects.yaml"


class SlicesOptions(PairsOptions):
    """Tuples in slices: other wordings, conflicting cues, what no split has, benign look-alikes."""

    path: str | Path = DATA / "slices.jsonl"


class SearchOptions(QueriesOptions):
    """Short search queries."""

    path: str | Path = DATA / "queries.csv"


class BenignSubjectsOptions(ClassesOptions):
    """Who is in the benign look-alikes."""

    path: str | Path = DATA / "benign-subjects.yaml"


class BenignPlacesOptions(ClassesOptions):
    """Where the benign look-alikes are."""

    path: str | Path = DATA / "benign-places.yaml"


EDITKIT_API = 1


@hookimpl
def editkit_adapters() -> list[AdapterSpec]:
    """The demo model by its name."""
    return [
        AdapterSpec(
            name="demo",
            summary="the embedded demo model, a small CLIP",
            target="editkit_demo.adapter:DemoClip",
            prefixes=("demo",),
            folder=MODEL,
        )
    ]


@hookimpl
def editkit_datasets() -> list[DatasetSpec]:
    """The demo's tuples, their slices, queries that search them, and labelled images."""
    return [
        DatasetSpec(
            name="demo",
            summary="tuples of emoji scenes, in ViSU's layout",
            target="editkit.plugin:Visu",
            options=DemoOptions,
            defaults=(("edit", "calibration"),),
            knowledge="demo-objects",
            queries="demo-queries",
            slices="demo-slices",
            benign=("demo-benign-subjects", "demo-benign-places"),
        ),
        DatasetSpec(
            name="demo-slices",
            summary="the demo's scenes in other words, with other cues, of unseen things",
            target="editkit.plugin:Pairs",
            options=SlicesOptions,
            splits=lambda options: False,
            knowledge="demo-objects",
            queries="demo-queries",
        ),
        DatasetSpec(
            name="demo-queries",
            summary="short search queries: objects, subjects and places",
            target="editkit.plugin:Queries",
            options=SearchOptions,
            content="queries",
        ),
        DatasetSpec(
            name="demo-objects",
            summary="objects in the demo's safe test images",
            target="editkit.plugin:Classes",
            options=ObjectsOptions,
            content="classes",
        ),
        DatasetSpec(
            name="demo-unsafe-objects",
            summary="objects in the demo's unsafe test images",
            target="editkit.plugin:Classes",
            options=UnsafeObjectsOptions,
            content="classes",
        ),
        DatasetSpec(
            name="demo-benign-subjects",
            summary="subjects of the demo's benign look-alikes",
            target="editkit.plugin:Classes",
            options=BenignSubjectsOptions,
            content="classes",
        ),
        DatasetSpec(
            name="demo-benign-places",
            summary="places of the demo's benign look-alikes",
            target="editkit.plugin:Classes",
            options=BenignPlacesOptions,
            content="classes",
        ),
    ]
