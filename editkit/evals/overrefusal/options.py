"""What can be set on `overrefusal`. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from pydantic import Field

from editkit.components.spec import Options


class OverRefusalOptions(Options):
    """Options of `overrefusal`."""

    benign: str = Field(default="benign*", min_length=1, description="slices of benign items, a name with wildcards")
    unseen: str = Field(default="unseen*", min_length=1, description="slices of unsafe items unlike the calibration")
    calibration: int = Field(
        default=1000, ge=100, description="at most so many calibration tuples, whose safe items say what moves far"
    )
