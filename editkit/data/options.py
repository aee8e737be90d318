"""What can be set for the built-in data sets; imports pydantic only, so that listing and validating stay cheap."""

from __future__ import annotations

from pathlib import Path
from string import Formatter

from pydantic import Field, field_validator

from editkit.components.specs import DatasetOptions, OnBadItem

PATTERN_FIELDS = ("split", "incremental_id", "coco_id")


class VisuOptions(DatasetOptions):
    """ViSU's captions and where its images lie."""

    name: str = Field("visu", description="what reports call the data")
    path: Path = Field(description="folder with ViSU-Text_{split}.json, or one such file")
    coco: Path | None = Field(default=None, description="root of the safe images (default: coco beside the JSON files)")
    unsafe: Path | None = Field(
        default=None, description="root of the unsafe images (default: unsafe beside the JSON files)"
    )
    unsafe_pattern: str = Field(
        default="{split}/sd-ntsw/unsafe/original/{incremental_id}/0.jpg",
        description="path of an unsafe image below its root; may use {split}, {incremental_id} and {coco_id}",
    )
    images: bool = Field(default=True, description="false reads the captions only, for an edit of the text tower alone")
    on_bad_item: OnBadItem = Field(
        default="skip", description="skip leaves an unusable item out and names it, error stops at it"
    )

    @field_validator("unsafe_pattern")
    @classmethod
    def _pattern_names_each_item(cls, pattern: str) -> str:
        fields = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
        if strangers := sorted(fields - set(PATTERN_FIELDS)):
            raise ValueError(f"knows the fields {', '.join(PATTERN_FIELDS)}, not '{strangers[0]}'")
        if not fields & {"incremental_id", "coco_id"}:
            raise ValueError("must contain {incremental_id} or {coco_id}, or every item would have the same image")
        return pattern


def visu_splits(options: VisuOptions) -> bool:
    """Whether there is a file for each split, and not one alone."""
    return options.path.suffix != ".json"


class PairsOptions(DatasetOptions):
    """A table of tuples."""

    path: str | Path = Field(
        description="a .jsonl, .csv or .parquet file, or hf:NAME for a Hugging Face data set; may contain {split}"
    )


def table_splits(options: PairsOptions) -> bool:
    """Whether the path names a table for each split, and not one alone."""
    return "{split}" in str(options.path) or str(options.path).startswith("hf:")


class QueriesOptions(DatasetOptions):
    """A table of queries."""

    path: str | Path = Field(
        description="a .jsonl, .csv or .parquet file, or hf:NAME for a Hugging Face data set; may contain {split}"
    )


class ClassesOptions(DatasetOptions):
    """A zero-shot set."""

    path: str | Path = Field(description="a YAML file with name, classes, template and a table or folder of images")
