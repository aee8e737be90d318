"""What can be set on `restoration`. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from editkit.components.spec import Options


class RestorationOptions(Options):
    """Options of `restoration`."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 5, 10, 50), min_length=1, description="how many calibration pairs the attacker has"
    )
    draws: int = Field(3, ge=1, description="how many draws of these pairs are averaged")
