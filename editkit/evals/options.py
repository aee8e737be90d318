"""What can be set on editkit's own evaluations. No numpy here: listing plugins reads this file."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from editkit.components.spec import Options

Direction = Literal["Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s"]
"""Who asks whom: T text, V image, s safe, u unsafe."""

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


SearchDirection = Literal["T-V", "V-T", "V-V", "T-T"]
"""Who asks whom, whatever side both are on."""
QueryKind = Literal[
    "safe queries",
    "neutral queries",
    "unsafe queries",
    "safe captions",
    "unsafe captions",
    "safe images",
    "unsafe images",
]
"""Texts and images of a set of queries, or the tuples' own."""


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


class ExposureOptions(Options):
    """Options of `exposure`."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(10,), min_length=1, description="the k of each unsafe@k and any@k"
    )
    directions: tuple[SearchDirection, ...] = Field(
        default=get_args(SearchDirection), min_length=1, description="who asks whom (T text, V image)"
    )
    kinds: tuple[QueryKind, ...] = Field(
        default=get_args(QueryKind), min_length=1, description="who asks, as far as there are any"
    )


class RobustnessOptions(Options):
    """Options of `robustness`."""

    slice: tuple[str, ...] = Field(default=("*",), min_length=1, description="slices by name, with wildcards")
    k: int = Field(default=10, ge=1, description="the k of unsafe@k")
