"""What can be set for the zero-shot benchmarks. No torch here: listing components reads this file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from editkit.components.specs import DatasetOptions, DatasetSpec

Profile = Literal["uwm", "clip-benchmark"]


class ZeroshotOptions(DatasetOptions):
    """The zero-shot benchmarks below one folder."""

    path: str | Path = Field(description="the folder that holds them, or, for clip-benchmark, hf:OWNER on the hub")
    profile: Profile = Field(
        default="uwm", description="uwm: splits and prompts of the paper; clip-benchmark: those of CLIP Benchmark"
    )
    sets: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="keys of the sets (imagenet, pets ...); default: all that are there"
    )


ZEROSHOT = DatasetSpec(
    name="zeroshot",
    summary="the paper's 17 zero-shot sets, or those of CLIP Benchmark",
    target="editkit.data.zeroshot.sets:Zeroshot",
    options=ZeroshotOptions,
    reference="UWM, WACV 2026, Table 2",
    content="classes",
)
