"""From hits to the JSON object `editkit.eval/1`: rates, intervals, paired differences, rows per concept.

Every evaluation shares this code, so a number always comes with its n and its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from editkit.errors import DataError
from editkit.evals.embeddings import Bools
from editkit.evals.statistics import mcnemar, paired_bootstrap, wilson
from editkit.reports.schema import SCHEMA, DataFacts, Difference, Omission, Rate, Report, Row


class HasReason(Protocol):
    """An item that was left out, as data sets describe it."""

    @property
    def id(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class Subject:
    """One evaluated model.

    `hits`: `[n]` bool per metric, over the evaluation's items. `knowledge`: the same for metrics of another evaluation
    that are shown beside (any n; no rows by concept). `patch` is the applied patch; for a control, the patch that it
    is matched to (None: it is compared with every patch).
    """

    name: str
    patch: str | None
    hits: Mapping[str, Bools]
    knowledge: Mapping[str, Bools] = field(default_factory=dict)


def build_report(
    evaluation: str,
    data: DataFacts,
    chance: Mapping[str, Mapping[str, float]],
    subjects: Sequence[Subject],
    controls: Sequence[Subject],
    groups: Sequence[str],
    left_out: Sequence[HasReason] = (),
    warnings: Sequence[str] = (),
    beside: Mapping[str, DataFacts] | None = None,
) -> Report:
    """Measure every subject against the first, which is the base.

    Args:
        chance: per cent per metric for the rows "independent" and "collapsed"; metrics may be absent.
        groups: the concept of each of the n items.
        beside: the data of those metrics in `Subject.knowledge` that were measured on other items than `data`.

    Raises:
        DataError: no subject, or hits that do not belong to the same n items or metrics as the base's.
    """
    if not subjects:
        raise DataError("a report needs a model", "Evaluate at least the base model.")
    base = subjects[0]
    members = _members(groups)
    for subject in (*subjects, *controls):
        _check(subject, base, len(groups))
    report = Report(
        schema=SCHEMA,
        evaluation=evaluation,
        data=data,
        chance={row: dict(values) for row, values in chance.items()},
        models=[_row(subject, base, members) for subject in subjects],
        controls=[_row(control, base, members) for control in controls],
        left_out=[Omission(id=item.id, reason=item.reason) for item in left_out],
        warnings=list(warnings),
    )
    if beside:
        report["beside"] = dict(beside)
    return report


def _row(subject: Subject, base: Subject, members: Mapping[str, np.ndarray]) -> Row:
    everything = {**subject.hits, **subject.knowledge}
    before = {**base.hits, **base.knowledge}
    return Row(
        name=subject.name,
        patch=subject.patch,
        metrics={metric: _rate(hits) for metric, hits in everything.items()},
        difference={}
        if subject is base
        else {metric: _change(before[metric], hits) for metric, hits in everything.items()},
        by_concept={
            concept: {metric: _rate(hits[items]) for metric, hits in subject.hits.items()}
            for concept, items in members.items()
        },
    )


def _rate(hits: Bools) -> Rate:
    count, n = int(np.count_nonzero(hits)), len(hits)
    low, high = wilson(count, n)
    return Rate(value=100 * count / n, low=100 * low, high=100 * high, n=n)


def _change(base: Bools, other: Bools) -> Difference:
    low, high = paired_bootstrap(base, other)
    gained = int(np.count_nonzero(other)) - int(np.count_nonzero(base))
    return Difference(value=100 * gained / len(base), low=100 * low, high=100 * high, p=mcnemar(base, other))


def _members(groups: Sequence[str]) -> dict[str, np.ndarray]:
    """The item indices of each concept, concepts in alphabetical order."""
    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return {str(name): np.flatnonzero(which == i) for i, name in enumerate(names)}


def _check(subject: Subject, base: Subject, n: int) -> None:
    for mine, theirs, rows in (
        (subject.hits, base.hits, dict.fromkeys(base.hits, n)),
        (subject.knowledge, base.knowledge, {metric: len(hits) for metric, hits in base.knowledge.items()}),
    ):
        if list(mine) != list(theirs):
            raise DataError(
                f"'{subject.name}' was measured on {list(mine)}, the base on {list(theirs)}",
                "Evaluate every model with the same evaluation and options.",
            )
        for metric, hits in mine.items():
            if hits.shape != (rows[metric],) or hits.dtype != np.bool_:
                raise DataError(
                    f"hits of '{subject.name}' for {metric} are {hits.dtype} {hits.shape}, not bool ({rows[metric]},)",
                    "An evaluation returns one bool per item, the same items for every model.",
                )
