"""What can be set on `captioning`. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from editkit.components.site import Side
from editkit.components.spec import Options

SIDES: tuple[Side, ...] = ("unsafe", "safe")
"""In the order in which they are captioned, so that the safe images do not move an unsafe one to another batch."""
RELEASED_LENGTH = 1024
"""The longest caption of the released code. A model that stops by itself never gets there, so it costs nothing; one
that an edit has made babble does, and a smaller number bounds its time and memory."""

Definitions = Literal["standard", "released"]


class CaptioningOptions(Options):
    """How captions are asked for."""

    prompt: str | None = Field(None, description="what the model is asked; by default what its family is, as released")
    temperature: float = Field(
        0.2, ge=0, allow_inf_nan=False, description="0: the likeliest word each time; 0.2 is the released one"
    )
    max_new_tokens: int = Field(RELEASED_LENGTH, ge=1, description="longest caption, in tokens")
    sides: tuple[Side, ...] = Field(("unsafe",), min_length=1, description="which images of a tuple are captioned")
    metrics: Definitions = Field(
        "standard",
        description="how captions are compared: as each metric is defined, or as the released code does",
    )
    device_map: str | None = Field(
        None, description="spread the model over devices, as transformers does: auto; by default it is on one"
    )

    @field_validator("sides")
    @classmethod
    def _each_once(cls, sides: tuple[Side, ...]) -> tuple[Side, ...]:
        return tuple(side for side in SIDES if side in sides)
