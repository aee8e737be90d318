"""From hits to the JSON object `editkit.eval/1`: rates, intervals, paired differences, rows by concept.

Every evaluation of embeddings shares this code, so a number always comes with its n and its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from editkit.components.metric import Metric, describe_metrics, with_headline
from editkit.components.specs import EvalSpec
from editkit.data.tuples import LeftOut
from editkit.errors import DataError
from editkit.evals.embeddings import Bools, Integers
from editkit.evals.statistics import change_of, holm, rate_of
from editkit.evals.weighted import ItemWeights, weighted_change, weighted_rate
from editkit.models.variants import Variant
from editkit.reports.facts import Facts, kept_facts, primary
from editkit.reports.schema import SCHEMA, Apart, DataFacts, Difference, Example, Omission, Rate, Report, Row

Value = TypeVar("Value")
Chance = Mapping[str, Mapping[str, float]]
"""Per cent by row ("independent", "collapsed"), then by metric; metrics may be absent."""
EXAMPLES = 3
"""How many single items are told of a metric."""


@dataclass(frozen=True)
class Measured:
    """Hits [n] of every model on the same n items, by model and metric; of models, the first is the base.

    `groups` has the concept of each item, or nothing: then there are no rows by concept. `weights` [n] are those of the
    metrics that are no plain rates; `same` [n] numbers the distinct items, where some are repeats of others. Of the
    metrics in `scores` the hits are scores: float64 in [0, 1]. `named` says what each item is called where single ones
    are told, or nothing.
    """

    data: DataFacts
    hits: Mapping[str, Mapping[str, Bools]]
    chance: Chance = field(default_factory=dict)
    groups: Sequence[str] = ()
    weights: Mapping[str, ItemWeights] = field(default_factory=dict)
    same: Integers | None = None
    scores: frozenset[str] = frozenset()
    named: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()
    warnings: Sequence[str] = ()
    """What reports say of the data."""

    @property
    def n(self) -> int:
        """How many items were measured."""
        return self.data["n"]

    @property
    def distinct(self) -> Integers:
        """[n]: equal numbers, from 0, for items that are repeats of each other."""
        return np.arange(self.n) if self.same is None else self.same

    @property
    def repeats(self) -> bool:
        """Whether an item occurs more than once, so that hits are not independent."""
        return int(self.distinct.max()) + 1 < self.n

    def weights_of(self, metric: str) -> ItemWeights:
        """[n], of sum 1."""
        return self.weights.get(metric, np.full(self.n, 1 / self.n))

    def rate(self, model: str, metric: str) -> Rate:
        """A model's metric over all items."""
        hits = self.hits[model][metric]
        if self._is_mean(metric):
            return weighted_rate(hits, self.weights_of(metric), self.distinct)
        return rate_of(int(np.count_nonzero(hits)), self.n)

    def change(self, base: str, model: str, metric: str) -> Difference:
        """A model's metric minus the base's."""
        before, after = self.hits[base][metric], self.hits[model][metric]
        if self._is_mean(metric):
            return weighted_change(before, after, self.weights_of(metric), self.distinct)
        return change_of(before, after)

    def _is_mean(self, metric: str) -> bool:
        """Whether it is more than a count of hits among n items alike."""
        return metric in self.weights or metric in self.scores or self.repeats

    def risen(self, base: str, model: str) -> dict[str, list[Example]]:
        """Return the items for which a score rose most, at most three, by metric."""
        found = {}
        for metric in self.scores if self.named else ():
            before, after = self.hits[base][metric], self.hits[model][metric]
            most = np.argsort(before - after, kind="stable")[:EXAMPLES]
            found[metric] = [
                Example(item=self.named[i], before=100 * float(before[i]), after=100 * float(after[i]))
                for i in most.tolist()
                if after[i] > before[i]
            ]
        return {metric: items for metric, items in found.items() if items}

    def showing(self, names: Mapping[str, str]) -> Measured:
        """Return some of the metrics, each under the name that it is given."""
        return replace(
            self,
            hits={model: _named(hits, names) for model, hits in self.hits.items()},
            chance={row: _named(levels, names) for row, levels in self.chance.items()},
            weights=_named(self.weights, names),
            scores=frozenset(name for metric, name in names.items() if metric in self.scores),
        )


def _named(values: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    return {name: values[metric] for metric, name in names.items() if metric in values}


def build_report(
    evaluation: str, variants: Sequence[Variant], own: Measured, beside: Sequence[Measured] = ()
) -> Report:
    """Measure every variant against the first, which is the base.

    Args:
        own: what the evaluation itself measured: items, concepts and what was left out are its.
        beside: what others did, on the same items or on other ones.

    Raises:
        DataError: no variant, or hits that do not belong to the same n items or metrics as the base's.
    """
    if not variants:
        raise DataError("a report needs a model", "Evaluate at least the base model.")
    for measured in (own, *beside):
        for variant in variants:
            _check(measured, variant.name, variants[0].name)
    _require_each_once(metric for one in (own, *beside) for metric in one.hits[variants[0].name])
    members = _members(own.groups)
    rows = {variant.name: _row(variant, variants[0], own, beside, members) for variant in variants}
    chance: dict[str, dict[str, float]] = {}
    for measured in (own, *beside):
        for row, levels in measured.chance.items():
            chance.setdefault(row, {}).update(levels)
    report = Report(
        schema=SCHEMA,
        evaluation=evaluation,
        data=own.data,
        chance=chance,
        models=[rows[variant.name] for variant in variants if variant.is_shown and not variant.is_control],
        controls=[rows[variant.name] for variant in variants if variant.is_shown and variant.is_control],
        left_out=[Omission(id=item.id, reason=item.reason) for item in own.left_out],
        warnings=[*_warnings(own), *(warning for one in beside for warning in one.warnings)],
    )
    if wrecks := [rows[variant.name] for variant in variants if variant.is_wreck]:
        report["wrecked"] = wrecks
    if parts := [variant for variant in variants if variant.tower]:
        report["apart"] = {
            str(tower): Apart(
                models=[rows[one.name] for one in parts if one.tower == tower and not one.is_control],
                controls=[rows[one.name] for one in parts if one.tower == tower and one.is_control],
            )
            for tower in dict.fromkeys(one.tower for one in parts)
        }
    elsewhere = {
        metric: measured.data
        for measured in beside
        if measured.data != own.data
        for metric in measured.hits[variants[0].name]
    }
    if elsewhere:
        report["beside"] = elsewhere
    return report


def add_facts(report: Report, spec: EvalSpec, beside: Mapping[str, EvalSpec]) -> None:
    """Write into a report what its evaluation and its metrics are.

    Args:
        beside: the other evaluations whose metrics stand in it, by metric.
    """
    rows = [row for part in (report, *report.get("sets", ())) for row in (*part["models"], *part["controls"])]
    own = dict.fromkeys(metric for row in rows for metric in row["metrics"] if metric not in beside)
    facts = with_headline(describe_metrics(spec.metrics, own))
    others: dict[str, Metric] = {}
    for other in {id(other): other for other in beside.values()}.values():
        described = describe_metrics(other.metrics, [name for name in beside if beside[name] is other])
        others |= {name: _beside(metric) for name, metric in described.items()}
    report["title"], report["items"], report["metrics"] = (
        spec.called,
        spec.items_called,
        kept_facts({**facts, **others}),
    )
    _correct({**facts, **others}, report)


def _beside(facts: Metric) -> Metric:
    """Return the facts of a metric as it stands beside: it is not what the edit was made for."""
    return facts if facts.about == "knowledge" else facts.model_copy(update={"headline": False, "compared": True})


def _correct(facts: Facts, report: Report) -> None:
    """Name the primary metric, and correct the p of each model's other changes, in all sets, for their number."""
    report["primary"] = primary(facts, report["models"][0])

    def others(row: Row) -> list[Difference]:
        return [change for metric, change in row["difference"].items() if metric != report["primary"]]

    families = {(row["name"], row["patch"]): others(row) for row in (*report["models"][1:], *report["controls"])}
    for part in report.get("sets", ()):
        for row in (*part["models"][1:], *part["controls"]):
            families[row["name"], row["patch"]] += row["difference"].values()
    parts = report.get("apart", {}).values()
    apart = [others(row) for part in parts for row in (*part["models"], *part["controls"])]
    apart += [others(report["filter"]["model"])] if "filter" in report else []
    for family in (*families.values(), *apart):
        for change, corrected in zip(family, holm([change["p"] for change in family]), strict=True):
            change["holm"] = corrected


def _row(
    variant: Variant, base: Variant, own: Measured, beside: Sequence[Measured], members: Mapping[str, Integers]
) -> Row:
    all_metrics = [(measured, metric) for measured in (own, *beside) for metric in measured.hits[variant.name]]
    changes = {metric: measured.change(base.name, variant.name, metric) for measured, metric in all_metrics}
    # a mean over groups has no value within one
    plain = {metric: hits for metric, hits in own.hits[variant.name].items() if metric not in own.weights}
    row = Row(
        name=variant.label or variant.name,
        patch=variant.patch,
        metrics={metric: measured.rate(variant.name, metric) for measured, metric in all_metrics},
        difference={} if variant is base else changes,
        by_concept={
            concept: {metric: rate_of(float(hits[items].sum()), len(items)) for metric, hits in plain.items()}
            for concept, items in members.items()
        },
    )
    if variant.overlap is not None:
        row["overlap"] = variant.overlap
    if examples := {k: v for one in (own, *beside) for k, v in one.risen(base.name, variant.name).items()}:
        row["examples"] = examples
    return row


def _warnings(measured: Measured) -> list[str]:
    if not measured.repeats:
        return [*measured.warnings]
    distinct = int(measured.distinct.max()) + 1
    about = f"{measured.data['name']}: {measured.n:,} images are {distinct:,} distinct ones"
    return [*measured.warnings, f"{about}; the intervals allow for it."]


def _members(groups: Sequence[str]) -> dict[str, Integers]:
    """The item indices of each concept, concepts in alphabetical order."""
    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return {str(name): np.flatnonzero(which == place) for place, name in enumerate(names)}


def _require_each_once(metrics: Iterable[str]) -> None:
    for metric, count in Counter(metrics).items():
        if count > 1:
            raise DataError(
                f"{metric} is measured by {count} evaluations that stand side by side",
                "Name in `Beside.metrics` those metrics of the other evaluation that are to be shown.",
            )


def _check(measured: Measured, model: str, base: str) -> None:
    mine, theirs = measured.hits[model], measured.hits[base]
    if list(mine) != list(theirs):
        raise DataError(
            f"'{model}' was measured on {list(mine)}, the base on {list(theirs)}",
            "Evaluate every model with the same evaluation and options.",
        )
    for metric, hits in mine.items():
        wanted = np.dtype(np.float64 if metric in measured.scores else np.bool_)
        if hits.shape != (measured.n,) or hits.dtype != wanted:
            raise DataError(
                f"hits of '{model}' for {metric} are {hits.dtype} {hits.shape}, not {wanted} ({measured.n},)",
                f"An evaluation returns one {wanted} per item, the same items for every model.",
            )
        if metric in measured.scores and not ((hits >= 0) & (hits <= 1)).all():
            raise DataError(
                f"scores of '{model}' for {metric} are not all between 0 and 1", "A score is a share from 0 to 1."
            )
    for metric, weights in measured.weights.items():
        if weights.shape != (measured.n,) or not np.isclose(weights.sum(), 1):  # a NaN is close to nothing
            raise DataError(
                f"the weights of {metric} are {weights.shape} and sum to {weights.sum():g}, not ({measured.n},) and 1",
                "An evaluation returns one weight per item, and they sum to 1.",
            )
    if len(measured.groups) not in (0, measured.n):
        raise DataError(
            f"{len(measured.groups)} concepts came with {measured.n} items",
            "An evaluation returns the concept of every item.",
        )
