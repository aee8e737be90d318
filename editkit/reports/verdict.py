"""What a report says, in sentences: what changed, whether controls did as much, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editkit.components.metric import Metric
from editkit.reports.cost import cost
from editkit.reports.detection import against_filter, filter_alone
from editkit.reports.facts import (
    ENOUGH,
    Facts,
    best_of,
    controls_of,
    facts_of,
    gain,
    headline,
    knowledge,
    measurable,
    primary,
    with_change,
)
from editkit.reports.numbers import change_text, per_cent, points, rate_text, with_p
from editkit.reports.schema import Report, Row
from editkit.reports.slices import across_slices

DISPROVES = {
    "shuffled": "direction of the change",
    "shrink": "direction of the change",
    "sides": "sides of its pairs",
    "other pairs": "pairing of its items",
}
"""What a control that gains as much speaks against, by how the names of those begin that redraw no weights."""


def verdict(report: Report, tau: Mapping[str, float] | None = None) -> list[str]:
    """Return plain sentences on a report, those on one model together.

    Args:
        tau: the tau of each edit by the model's name, where its method has one.
    """
    facts, base = facts_of(report), report["models"][0]
    if len(report["models"]) == 1:
        return _alone(report, facts, base)
    sentences = filter_alone(report, facts)
    for model in report["models"][1:]:
        told = (
            _changed(report, facts, base, model)
            if model["difference"]
            else ["not compared with the base by any metric."]
        )
        told += _apart(report, facts, model)
        told += against_filter(report, facts, model)
        told += across_slices(report, facts, model)
        if any(map(measurable, model["difference"].values())):
            told += cost(report, facts, base, model)
        elif model["patch"] and _enough(model):
            told += _larger_tau(model["name"], tau)
        sentences += [f"{model['name']}: {sentence}" for sentence in told]
    return sentences


def _alone(report: Report, facts: Facts, base: Row) -> list[str]:
    told = headline(facts, base) or knowledge(facts, base)
    return [
        f"{base['name']}: {metric} {rate_text(base['metrics'][metric])}, n = {base['metrics'][metric]['n']:,}"
        f"{_chance_text(report, metric)}."
        for metric in told
    ]


def _enough(model: Row) -> bool:
    return any(model["metrics"][metric]["n"] >= ENOUGH for metric in model["difference"])


def _larger_tau(name: str, tau: Mapping[str, float] | None) -> list[str]:
    if tau is not None and name not in tau:
        return []  # the method has none
    than = "" if tau is None else f" than {tau[name]:g}"
    return [f"a larger --tau{than} edits more of the score mass."]


def _changed(report: Report, facts: Facts, base: Row, model: Row) -> list[str]:
    """What the edit was for: did it move, would a control have moved it, is it better than chance; and what else did.

    The primary metric decides; of the others only what stands after Holm's correction is told.
    """
    main = next(iter(with_change([primary(facts, base)], model)), next(iter(model["difference"])))
    others = [metric for metric in model["difference"] if metric != main]
    told = [metric for metric in with_change(headline(facts, model), model) if metric != main]
    sentences = []
    for metric in (main, *(metric for metric in told if measurable(model["difference"][metric]))):
        change, n = model["difference"][metric], model["metrics"][metric]["n"]
        if n < ENOUGH:
            sentences.append(f"{metric}: too few {_items(report, metric)} to tell: {n}, and {ENOUGH} are the fewest.")
            continue
        if not measurable(change):
            sentences.append(f"no measurable change in {metric}: {with_p(change)}, n = {n:,}.")
            continue
        before, after = base["metrics"][metric]["value"], model["metrics"][metric]["value"]
        sentences.append(
            f"{metric} {'rose' if change['value'] > 0 else 'fell'} from {per_cent(before)} to {per_cent(after)}: "
            f"{with_p(change)}, n = {n:,}."
        )
        if gain(change, facts[metric])["value"] > 0:
            sentences += [_against_controls(controls_of(report, model), facts, model, metric)]
            sentences += _against_chance(report, model, facts[metric])
    if others and not any(map(measurable, model["difference"].values())) and _enough(model):
        if len(others) > 1:
            sentences.append(f"none of the {len(others)} other metrics changed measurably after Holm's correction.")
        else:
            sentences.append(f"{others[0]} did not change measurably either.")
    return sentences


def _apart(report: Report, facts: Facts, model: Row) -> list[str]:
    """What an edit of both towers does in one of them alone, and what its controls do there."""
    main, sentences = primary(facts, report["models"][0]), []
    for tower, part in report.get("apart", {}).items():
        for row in (row for row in part["models"] if row["patch"] == model["patch"] and main in row["difference"]):
            change = row["difference"][main]
            told = f"its {tower} part alone: {main} {with_p(change)}"
            if measurable(change) and gain(change, facts[main])["value"] > 0:
                own = [control for control in part["controls"] if control["patch"] == row["patch"]]
                told += f"; {_against_controls(own, facts, row, main)[:-1]}"
            sentences.append(f"{told}.")
    return sentences


def _items(report: Report, metric: str) -> str:
    return "items" if metric in report.get("beside", {}) else report.get("items", "items")


def _against_controls(matched: Sequence[Row], facts: Facts, model: Row, metric: str) -> str:
    controls = [row for row in matched if metric in row["difference"]]
    if not controls:
        move = "raise" if facts[metric].better == "more" else "lower"
        return f"no controls were run, so whether other weights would {move} {metric} as much is unknown."
    best = max(controls, key=lambda row: gain(row["difference"][metric], facts[metric])["value"])
    mine, theirs = (gain(row["difference"][metric], facts[metric]) for row in (model, best))
    which = f"of {len(controls)} controls" if len(controls) > 1 else "of the control"
    which += _overlap(controls)
    largest = (
        f"the largest {metric} change {which} is {change_text(best['difference'][metric])} points ({best['name']})"
    )
    if mine["low"] > theirs["high"]:
        return f"{largest}: clearly less."
    if mine["value"] > theirs["value"]:
        return f"{largest}: less, but the intervals overlap."
    what = next((what for start, what in DISPROVES.items() if best["name"].startswith(start)), "choice of weights")
    return f"{largest}: as much or more, {_at_what_cost(facts, model, best, what)}."


def _overlap(controls: Sequence[Row]) -> str:
    """Say how many of the weights that controls change instead are the edit's own."""
    shares = [row["overlap"] for row in controls if "overlap" in row]
    if not shares:
        return ""
    return f", with up to {100 * max(shares):.0f} % of the edit's own weights," if max(shares) else " of other weights"


def _at_what_cost(facts: Facts, model: Row, control: Row, what: str) -> str:
    """A control that damages the model more may gain more: only at equal knowledge does that tell of the edit."""
    known = [metric for metric in with_change(knowledge(facts, model), model) if metric in control["difference"]]
    if not known:
        return f"but knowledge was not measured, so nothing follows on the {what}"
    for metric in known:
        mine, theirs = (gain(row["difference"][metric], facts[metric]) for row in (model, control))
        if theirs["high"] < mine["low"]:
            costs = ", the edit ".join(points(row["difference"][metric]["value"]) for row in (control, model))
            return f"but it clearly cost more knowledge ({metric} {costs}), so nothing follows on the {what}"
    return f"and it did not clearly cost more knowledge, so the gain is not shown to be owed to the {what}"


def _against_chance(report: Report, model: Row, facts: Metric) -> list[str]:
    """Only where damage alone can do better than chance: its two rows differ."""
    metric, rate = facts.name, model["metrics"][facts.name]
    independent, collapsed = (report["chance"].get(row, {}).get(metric) for row in ("independent", "collapsed"))
    if independent is None or collapsed is None or independent == collapsed:
        return []
    levels = {"independent noise": independent, "collapsed embeddings": collapsed}
    if wrecks := report.get("wrecked"):
        levels[f"the best of {len(wrecks)} wrecks"] = best_of(wrecks, facts)
    *first, last = (f"{name} ({per_cent(level)})" for name, level in levels.items())
    told, more = f"{', '.join(first)} and {last}", facts.better == "more"
    if rate["low"] > max(levels.values()) if more else rate["high"] < min(levels.values()):
        return [f"{metric} {rate_text(rate)} is {'above' if more else 'below'} {told}."]
    return [f"{metric} {per_cent(rate['value'])} is within reach of mere damage: {told}."]


def _chance_text(report: Report, metric: str) -> str:
    independent, collapsed = (report["chance"].get(row, {}).get(metric) for row in ("independent", "collapsed"))
    if independent is None or collapsed is None:
        return ""
    if independent == collapsed:
        return f"; chance is {per_cent(independent)}"
    return f"; independent noise scores {per_cent(independent)}, collapsed embeddings {per_cent(collapsed)}"
