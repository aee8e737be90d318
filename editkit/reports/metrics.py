"""What a metric of a report is: which way is better, and whether a change of it is beyond chance."""

from __future__ import annotations

from typing import Literal, get_args

from editkit.reports.schema import Difference


def measurable(change: Difference) -> bool:
    """Whether a change is beyond chance at 95 %: its interval excludes 0 and McNemar's p is below 0.05.

    Both, since with a handful of changed items the bootstrap interval is too short and the exact test is not.
    """
    return (change["low"] > 0 or change["high"] < 0) and change["p"] < 0.05


Direction = Literal["Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
