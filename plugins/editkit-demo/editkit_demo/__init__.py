"""The embedded default of editkit: a small CLIP model and ViSU-like tuples made of emoji art."""

from __future__ import annotations

from pathlib import Path

from editkit.plugin import AdapterSpec, ClassesOptions, DatasetSpec, OnBadItem, VisuOptions, hookimpl

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
    """The demo's tuples, and its two zero-shot sets."""
    return [
        DatasetSpec(
            name="demo",
            summary="tuples of emoji scenes, in ViSU's layout",
            target="editkit.plugin:Visu",
            options=DemoOptions,
            defaults=(("edit", "calibration"),),
            knowledge="demo-objects",
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
    ]
