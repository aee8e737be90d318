"""What a report says, in sentences: what changed, whether controls did as much, what it cost."""

from __future__ import annotations

from collections.abc import Mapping

from editkit.reports.layout import (
    Layout,
    change_text,
    controls_of,
    knowledge_of,
    layout_of,
    p_text,
    per_cent,
    points,
    present,
    rate_text,
)
from editkit.reports.metrics import measurable
from editkit.reports.schema import Report, Row

SAME_NORM = ("shuffled", "shrink")
"""How the names of controls begin that redraw no weights: other changes of an edit's norm (`evals.norm_controls`)."""


def verdict(report: Report, tau: Mapping[str, float] | None = None) -> list[str]:
    """Return plain sentences on a report, those on one model together.

    Args:
        tau: the tau of each edit by the model's name, where its method has one.
    """
    layout, base = layout_of(report), report["models"][0]
    if len(report["models"]) == 1:
        return _alone(report, layout, base)
    sentences = []
    for model in report["models"][1:]:
        if any(measurable(change) for change in model["difference"].values()):
            told = [*_changed(report, layout, base, model), *_cost(layout, base, model)]
        else:
            told = [_unchanged(layout, model), *(_larger_tau(model["name"], tau) if model["patch"] else [])]
        sentences += [f"{model['name']}: {sentence}" for sentence in told]
    return sentences


def _alone(report: Report, layout: Layout, base: Row) -> list[str]:
    told = present(layout.headline, base) or knowledge_of(base)
    return [
        f"{base['name']}: {metric} {rate_text(base['metrics'][metric])}, n = {base['metrics'][metric]['n']:,}"
        f"{_chance_text(report, metric)}."
        for metric in told
    ]


def _unchanged(layout: Layout, model: Row) -> str:
    metric = (present(layout.headline, model) or list(model["metrics"]))[0]
    change, n = model["difference"][metric], model["metrics"][metric]["n"]
    count = len(model["difference"])
    where = f"any of {count} metrics; {metric}" if count > 1 else metric
    return f"no measurable change in {where}: {change_text(change)} points, p {_equals(change['p'])}, n = {n:,}."


def _larger_tau(name: str, tau: Mapping[str, float] | None) -> list[str]:
    if tau is not None and name not in tau:
        return []  # the method has none
    than = "" if tau is None else f" than {tau[name]:g}"
    return [f"a larger --tau{than} edits more of the score mass and moves every metric further, knowledge included."]


def _changed(report: Report, layout: Layout, base: Row, model: Row) -> list[str]:
    """What the edit was for: did it move, would a control have moved it, is it above chance."""
    sentences = []
    for metric in present(layout.headline, model):
        change, n = model["difference"][metric], model["metrics"][metric]["n"]
        if not measurable(change):
            sentences.append(f"no measurable change in {metric}: {change_text(change)} points, n = {n:,}.")
            continue
        before, after = base["metrics"][metric]["value"], model["metrics"][metric]["value"]
        sentences.append(
            f"{metric} {'rose' if change['value'] > 0 else 'fell'} from {per_cent(before)} to {per_cent(after)}: "
            f"{change_text(change)} points, p {_equals(change['p'])}, n = {n:,}."
        )
        if change["value"] > 0:
            sentences += [_against_controls(report, model, metric), *_against_chance(report, model, metric)]
    return sentences


def _against_controls(report: Report, model: Row, metric: str) -> str:
    controls = controls_of(report, model)
    if not controls:
        return f"no controls were run, so whether other weights would raise {metric} as much is unknown."
    best = max(controls, key=lambda row: row["difference"][metric]["value"])
    mine, theirs = model["difference"][metric], best["difference"][metric]
    which = f"of {len(controls)} controls" if len(controls) > 1 else "of the control"
    largest = f"the largest {metric} change {which} is {change_text(theirs)} points ({best['name']})"
    if mine["low"] > theirs["high"]:
        return f"{largest}: clearly less."
    if mine["value"] > theirs["value"]:
        return f"{largest}: less, but the intervals overlap."
    what = "direction of the change" if best["name"].startswith(SAME_NORM) else "choice of weights"
    return f"{largest}: as much or more, so the gain is not owed to the {what}."


def _against_chance(report: Report, model: Row, metric: str) -> list[str]:
    """Only where chance can be beaten by damage alone: its two rows differ."""
    independent, collapsed = (report["chance"].get(row, {}).get(metric) for row in ("independent", "collapsed"))
    if independent is None or collapsed is None or independent == collapsed:
        return []
    rate = model["metrics"][metric]
    if rate["low"] > max(independent, collapsed):
        levels = f"independent noise ({per_cent(independent)}) and collapsed embeddings ({per_cent(collapsed)})"
        return [f"{metric} {rate_text(rate)} is above {levels}."]
    return [
        f"{metric} {per_cent(rate['value'])} is within reach of mere damage (independent noise "
        f"{per_cent(independent)}, collapsed embeddings {per_cent(collapsed)}): judge by controls and knowledge."
    ]


def _cost(layout: Layout, base: Row, model: Row) -> list[str]:
    """What the model lost, of its knowledge and on safe inputs."""
    knowledge = knowledge_of(model)
    sentences = []
    if not knowledge:
        sentences.append("knowledge was not measured here; `editkit eval zeroshot` does.")
    elif lost := _lost(knowledge, base, model):
        sentences.append(f"knowledge lost: {lost}.")
    else:
        kept = ", ".join(f"{metric} {change_text(model['difference'][metric])}" for metric in knowledge)
        sentences.append(f"no measurable loss of knowledge: {kept}.")
    if lost := _lost(present(layout.safe_side, model), base, model):
        sentences.append(f"less safe on safe inputs: {lost}.")
    return sentences


def _lost(metrics: list[str], base: Row, model: Row) -> str:
    parts = []
    for metric in metrics:
        change = model["difference"][metric]
        if measurable(change) and change["value"] < 0:
            before, after = base["metrics"][metric]["value"], model["metrics"][metric]["value"]
            parts.append(f"{metric} {per_cent(before)} to {per_cent(after)} ({points(change['value'])})")
    return ", ".join(parts)


def _chance_text(report: Report, metric: str) -> str:
    independent, collapsed = (report["chance"].get(row, {}).get(metric) for row in ("independent", "collapsed"))
    if independent is None or collapsed is None:
        return ""
    if independent == collapsed:
        return f"; chance is {per_cent(independent)}"
    return f"; independent noise scores {per_cent(independent)}, collapsed embeddings {per_cent(collapsed)}"


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"
