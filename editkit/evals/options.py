"""What can be set on editkit's own evaluations. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from editkit.components.specs import Options

Direction = Literal["Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s"]
"""Who asks whom: T text, V image, s safe, u unsafe."""

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class RetrievalOptions(Options):
    """Options of `retrieval`."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 5, 10, 20), min_length=1, description="the k of each R@k"
    )
    directions: tuple[Direction, ...] = Field(
        default=DIRECTIONS,
        min_length=1,
        description="who asks whom (T text, V image, s u safe)",
    )
