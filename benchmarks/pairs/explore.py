"""Draw settings, measure each on validation tuples, and keep the best that cost no knowledge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.pairs.features import Features
from benchmarks.pairs.measure import GOAL, Edit, edited, hits, kept, rates
from editkit.components.site import TOWERS, Tower

DRAWS = 60
"""Settings tried in each family."""
PLACES: tuple[tuple[Tower, ...], ...] = (("text",), ("vision",), TOWERS)
DIRECTIONS = ("least-energy", "minus-mean", "opposed")


@dataclass(frozen=True)
class Tried:
    """A setting and what it scored on validation tuples."""

    family: str
    edit: Edit
    rates: dict[str, float]
    kept: float


def explore(features: Features, on_try: Callable[[int], None], draws: int = DRAWS) -> list[Tried]:
    """Measure the presets and `draws` random settings of every family."""
    validation = features.tuples["validation"]
    base = rates(hits(features, validation, features.weights))
    found = []
    for family, edit in settings(draws):
        scored = rates(hits(features, validation, edited(features, features.tuples["calibration"], edit)))
        found.append(Tried(family, edit, scored, kept(scored, base)))
        on_try(1)
    return found


def settings(draws: int) -> Iterator[tuple[str, Edit]]:
    """Yield each family's preset, then its random settings; the same ones every time."""
    draw = random.Random(0)
    for towers in PLACES:
        place = "+".join(towers)
        yield f"redirect {place}", Edit("redirect", {}, towers)
        for _ in range(draws):
            yield f"redirect {place}", Edit("redirect", _fit(draw), towers)
        for direction in DIRECTIONS:
            yield f"refuse {direction} {place}", Edit("refuse", {"direction": direction}, towers)
            for _ in range(draws):
                yield f"refuse {direction} {place}", Edit("refuse", _refusal(draw, direction), towers)


def best(tried: list[Tried], family: str) -> Tried | None:
    """Return the family's setting of highest GS that keeps the goal's share of knowledge; None: no setting does."""
    good = [one for one in tried if one.family == family and one.kept >= GOAL]
    return max(good, key=lambda one: one.rates["GS"], default=None)


def front(tried: list[Tried]) -> list[Tried]:
    """Return the Pareto front of GS and kept knowledge, from the most knowledge kept to the highest GS."""
    found: list[Tried] = []
    for one in sorted(tried, key=lambda one: (-one.kept, -one.rates["GS"])):
        if not found or one.rates["GS"] > found[-1].rates["GS"]:
            found.append(one)
    return found


def _fit(draw: random.Random) -> dict[str, Any]:
    chosen: dict[str, Any] = {"preserve": _log(draw, 1, 300)}
    if draw.random() < 0.5:
        chosen["ridge"] = _log(draw, 1e-4, 0.1)
    if draw.random() < 0.3:
        chosen["null_space"] = _log(draw, 1e-3, 0.3)
    return chosen


def _refusal(draw: random.Random, direction: str) -> dict[str, Any]:
    shares = {"own": draw.choice([0.0, 0.5, 0.8, 1.0]), "keep": draw.choice([0.0, 0.2, 0.5, 0.8])}
    return {"direction": direction, **_fit(draw), **shares, "push": _log(draw, 0.25, 4)}


def _log(draw: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** draw.random())
