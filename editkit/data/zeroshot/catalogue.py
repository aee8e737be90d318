"""The sets of a profile: facts in `uwm.yaml` and `clip-benchmark.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

UNWANTED = "not asked for"
"""The reason given for a set that `--sets` leaves out."""

_FORM = ConfigDict(frozen=True, extra="forbid")


class DiskLayout(BaseModel):
    """One way in which a set may lie on disk, and what its reader is called with."""

    model_config = _FORM

    reader: Literal["folders", "torchvision", "parquet", "videos", "shards"]
    marker: str
    """What has to be there: a path with wildcards."""
    folder: str = ""
    names: Literal["", "imagenet", "imagenet-v2", "imagenet-r", "imagenet-a", "path-reversed"] = ""
    dataset: str = ""
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    each: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    image: str | None = None
    label: str | None = None

    def find(self, root: Path) -> Path | None:
        """Return the folder that has the marker: `root`, or the first of its sub-folders."""
        children = sorted(entry for entry in root.iterdir() if entry.is_dir())
        return next((base for base in (root, *children) if any(base.glob(self.marker))), None)


class SetFacts(BaseModel):
    """One set of a profile."""

    model_config = _FORM

    key: str
    title: str
    paper: str
    """Its column in the paper's Table 2."""
    classes: int
    images: int
    source: str = ""
    template: str = ""
    """Empty: prompts lie beside the images."""
    rename: Mapping[str, str] = Field(default_factory=dict)
    layouts: tuple[DiskLayout, ...] = ()
    hub: str = ""
    """Name of the data set on the hub, and of its folder."""

    def ways(self) -> tuple[DiskLayout, ...]:
        """How it may lie on disk, the likeliest first."""
        return self.layouts or (DiskLayout(reader="shards", marker=f"{self.hub}/test", folder=self.hub),)

    @property
    def origin(self) -> str:
        """Where it can be obtained."""
        return self.source or f"https://huggingface.co/datasets/clip-benchmark/{self.hub}: {self.hub}/"


@cache
def sets_of(profile: str) -> Mapping[str, SetFacts]:
    """Return the sets of a profile by key, in the order of the paper's table."""
    import yaml

    text = files("editkit.data.zeroshot").joinpath(f"{profile}.yaml").read_text(encoding="utf-8")
    return {entry.key: entry for entry in map(SetFacts.model_validate, yaml.safe_load(text))}
