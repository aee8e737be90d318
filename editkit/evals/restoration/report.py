"""From probes and recoveries to rows of `editkit.eval/1`, with what only this evaluation has beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired

import numpy as np
from typing_extensions import TypedDict

from editkit.evals.embeddings import Bools
from editkit.evals.restoration.probe import Probe
from editkit.evals.restoration.questions import Question
from editkit.evals.restoration.recovery import MAIN, MEASURES, RESTORED, Recovery, price
from editkit.evals.statistics import change_of, rate_of
from editkit.evals.weighted import weighted_change, weighted_rate
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts, Difference, Rate, Report, Row


class Recovered(TypedDict):
    """What an attack gives with so many pairs."""

    attack: str
    pairs: int
    """0: it needs captions alone, without labels."""
    metrics: dict[str, Rate]
    """Means over draws."""
    draws: dict[str, list[float]]
    """The value of each draw of pairs."""


class Price(TypedDict):
    """How many pairs undo an edit."""

    target: float
    """The value of 1-P_u^t that has to be reached, in per cent."""
    attacks: dict[str, int | None]
    """By attack; null: more than was tried."""
    pairs: int | None
    """The least of them."""


class RestorationRow(Row):
    """One model: a row of `editkit.eval/1` and more."""

    recovery: list[Recovered]
    """Empty where there are no calibration pairs."""
    price: NotRequired[Price]
    """Of an edit that hides anything: one in which 1-P_u^t is below the target."""


class Attacker(TypedDict):
    """What attacks were made with."""

    pairs: DataFacts
    """The data that pairs are drawn from."""
    ks: list[int]
    """How many pairs."""
    draws: int


class RestorationReport(Report):
    """The JSON object; its rows are `RestorationRow`s."""

    attacker: Attacker
    """Absent where nothing was attacked."""


@dataclass(frozen=True)
class Found:
    """What was measured of a model: a probe for each question, [n] hits by measure, and what attacks gave."""

    probes: Mapping[str, Probe]
    hits: Mapping[str, Bools]
    recovered: Sequence[Recovery]


def row_of(variant: Variant, found: Found, base: Found, questions: Sequence[Question]) -> RestorationRow:
    """Return a model's row; the two items of a tuple count as one where it is asked how sure an accuracy is."""
    row = RestorationRow(
        name=variant.name,
        patch=variant.patch,
        metrics={},
        difference={},
        by_concept={},
        recovery=[_recovered(one) for one in found.recovered],
    )
    changes: dict[str, Difference] = {}
    for one in questions:
        hits, name, weights = found.probes[one.name].hits, f"{one.name}:accuracy", np.full(len(one.tuples), 1.0)
        row["metrics"][name] = weighted_rate(hits, weights, one.tuples)
        row["metrics"][f"{one.name}:AUC"] = found.probes[one.name].auc_rate
        changes[name] = weighted_change(base.probes[one.name].hits, hits, weights, one.tuples)
    for measure in MEASURES:
        hits = found.hits[measure]
        row["metrics"][measure] = rate_of(int(np.count_nonzero(hits)), len(hits))
        changes[measure] = change_of(base.hits[measure], hits)
    if found is not base:
        row["difference"] = changes
        if found.recovered and (target := target_of(base)) > row["metrics"][MAIN]["value"]:
            row["price"] = _price(found.recovered, target)
    return row


def target_of(base: Found) -> float:
    """What an attack has to bring back, in per cent of captions."""
    return RESTORED * 100 * float(base.hits[MAIN].mean())


def _price(recovered: Sequence[Recovery], target: float) -> Price:
    prices = price(recovered, target)
    return Price(target=target, attacks=prices, pairs=min((k for k in prices.values() if k is not None), default=None))


def _recovered(one: Recovery) -> Recovered:
    return Recovered(
        attack=one.attack,
        pairs=one.pairs,
        metrics={measure: one.rate(measure) for measure in MEASURES},
        draws={measure: one.draws(measure) for measure in MEASURES},
    )
