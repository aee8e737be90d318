"""What an edit cost, in sentences: knowledge that was lost, may have been, or was not, and safety on safe inputs."""

from __future__ import annotations

import math
from typing import Literal, get_args

from editkit.reports.facts import ENOUGH, Facts, gain, knowledge, measurable, safe_inputs, with_change
from editkit.reports.numbers import change_text, per_cent, points, rate_text, with_p
from editkit.reports.schema import Difference, Report, Row

Finding = Literal["lost", "mute", "suspected", "open", "kept"]
"""Of a metric of knowledge: lost; cannot tell; lost before Holm's correction alone; perhaps much lost; not lost."""
TOLD = 2
"""How many metrics of safe inputs are told as a user sees them."""
WIDE = 5
"""Points: of an interval that allows for a greater loss nobody can say that nothing was lost."""


def cost(report: Report, facts: Facts, base: Row, model: Row) -> list[str]:
    """What the model lost, of its knowledge and on safe inputs."""
    known = with_change(knowledge(facts, model), model)
    if not known:
        sentences = ["knowledge was not measured here; `editkit eval zeroshot` does."]
    else:
        sentences = _knowledge(report, facts, base, model, known)
    lost = _lost(facts, with_change(safe_inputs(facts, model), model), model)
    if lost:
        sentences.append(f"less safe on safe inputs: {_told(lost, base, model)}.")
    return sentences + _seen(facts, base, model, lost)


def _knowledge(report: Report, facts: Facts, base: Row, model: Row, known: list[str]) -> list[str]:
    """Say what was lost, what may have been, what was not, and which metrics cannot show a loss."""
    found: dict[Finding, list[str]] = {finding: [] for finding in get_args(Finding)}
    for metric in known:
        found[_finding(report, facts, base, model, metric)].append(metric)
    lost, mute, suspected, open_, kept = found.values()
    sentences = []
    if lost:
        sentences.append(f"knowledge lost: {_told(lost, base, model)}.")
    if suspected:
        told = ", ".join(f"{metric} {with_p(model['difference'][metric])}" for metric in suspected)
        sentences.append(f"knowledge perhaps lost: {told}.")
    if open_:
        what = f"a loss of more than {WIDE} points of knowledge is not excluded"
        sentences.append(f"{what}: {_ranges(open_, model)}.")
    if kept:
        sentences.append(f"no measurable loss of knowledge{' otherwise' if lost else ''}: {_ranges(kept, model)}.")
    if mute:
        told = ", ".join(f"{metric} {rate_text(base['metrics'][metric])}" for metric in mute)
        sentences.append(f"of knowledge these say nothing, as the base is at chance or they are too few: {told}.")
    return sentences


def _seen(facts: Facts, base: Row, model: Row, lost: list[str]) -> list[str]:
    """Say of the metrics that became most worse, two at most, what a user sees of it, and where most."""
    sentences = []
    counted = [metric for metric in lost if facts[metric].seen]
    for metric in sorted(counted, key=lambda metric: _gain(facts, model, metric)["value"])[:TOLD]:
        size = int(facts[metric].out_of)
        before, after = (_out_of(row["metrics"][metric]["value"], size) for row in (base, model))
        told = f"{facts[metric].seen}: {after} on average, before {before}"
        examples = [
            f'"{one["item"]}" {_out_of(one["after"], size)}, before {_out_of(one["before"], size)}'
            for one in model.get("examples", {}).get(metric, ())
        ]
        sentences.append(f"{told}{'; most for ' + '; '.join(examples) if examples else ''}.")
    return sentences


def _out_of(share: float, size: int) -> str:
    """Return per cent of `size` things: 6.2, or 10."""
    return f"{share * size / 100:.1f}".removesuffix(".0")


def _finding(report: Report, facts: Facts, base: Row, model: Row, metric: str) -> Finding:
    change = _gain(facts, model, metric)
    if _lost(facts, [metric], model):
        return "lost"
    if _says_nothing(report, facts, base, model, metric):
        return "mute"
    if change["high"] < 0:
        return "suspected"
    return "open" if change["low"] < -WIDE else "kept"


def _says_nothing(report: Report, facts: Facts, base: Row, model: Row, metric: str) -> bool:
    """Whether there was nothing to lose, or a loss could not have shown: base at chance or at 0, or too few items."""
    rate = base["metrics"][metric]
    levels = [row[metric] for row in report["chance"].values() if metric in row]
    if facts[metric].better == "more":
        at_chance = rate["value"] <= 0 or rate["low"] <= max(levels, default=0)
    else:
        at_chance = rate["high"] >= min(levels, default=math.inf)
    return at_chance or model["metrics"][metric]["n"] < ENOUGH


def _gain(facts: Facts, model: Row, metric: str) -> Difference:
    return gain(model["difference"][metric], facts[metric])


def _lost(facts: Facts, metrics: list[str], model: Row) -> list[str]:
    """Those of which a loss is measurable."""
    found = [metric for metric in metrics if measurable(model["difference"][metric])]
    return [metric for metric in found if _gain(facts, model, metric)["value"] < 0]


def _told(lost: list[str], base: Row, model: Row) -> str:
    values = [(metric, base["metrics"][metric]["value"], model["metrics"][metric]["value"]) for metric in lost]
    moved = {metric: points(model["difference"][metric]["value"]) for metric in lost}
    return ", ".join(f"{metric} {per_cent(old)} to {per_cent(new)} ({moved[metric]})" for metric, old, new in values)


def _ranges(metrics: list[str], model: Row) -> str:
    return ", ".join(f"{metric} {change_text(model['difference'][metric])}" for metric in metrics)
