"""What a report says, in sentences: what changed, whether controls did as much, what it cost."""

from __future__ import annotations

from collections.abc import Mapping

from editkit.components.metric import Metric
from editkit.reports.facts import Facts, controls_of, facts_of, gain, headline, knowledge, measurable, safe_inputs
from editkit.reports.numbers import change_text, p_text, per_cent, points, rate_text
from editkit.reports.schema import Report, Row

SAME_NORM = ("shuffled", "shrink")
"""How the names of controls begin that redraw no weights: other changes of an edit's norm (`evals.norm_controls`)."""


def verdict(report: Report, tau: Mapping[str, float] | None = None) -> list[str]:
    """Return plain sentences on a report, those on one model together.

    Args:
        tau: the tau of each edit by the model's name, where its method has one.
    """
    facts, base = facts_of(report), report["models"][0]
    if len(report["models"]) == 1:
        return _alone(report, facts, base)
    sentences = []
    for model in report["models"][1:]:
        if any(measurable(change) for change in model["difference"].values()):
            told = [*_changed(report, facts, base, model), *_cost(facts, base, model)]
        else:
            told = [_unchanged(facts, model), *(_larger_tau(model["name"], tau) if model["patch"] else [])]
        sentences += [f"{model['name']}: {sentence}" for sentence in told]
    return sentences


def _alone(report: Report, facts: Facts, base: Row) -> list[str]:
    told = headline(facts, base) or knowledge(facts, base)
    return [
        f"{base['name']}: {metric} {rate_text(base['metrics'][metric])}, n = {base['metrics'][metric]['n']:,}"
        f"{_chance_text(report, metric)}."
        for metric in told
    ]


def _unchanged(facts: Facts, model: Row) -> str:
    if not model["difference"]:
        return "not compared with the base by any metric."
    metric = (_compared(headline(facts, model), model) or list(model["difference"]))[0]
    change, n = model["difference"][metric], model["metrics"][metric]["n"]
    count = len(model["difference"])
    where = f"any of {count} metrics; {metric}" if count > 1 else metric
    return f"no measurable change in {where}: {change_text(change)} points, p {_equals(change['p'])}, n = {n:,}."


def _compared(metrics: list[str], model: Row) -> list[str]:
    return [metric for metric in metrics if metric in model["difference"]]


def _larger_tau(name: str, tau: Mapping[str, float] | None) -> list[str]:
    if tau is not None and name not in tau:
        return []  # the method has none
    than = "" if tau is None else f" than {tau[name]:g}"
    return [f"a larger --tau{than} edits more of the score mass and moves every metric further, knowledge included."]


def _changed(report: Report, facts: Facts, base: Row, model: Row) -> list[str]:
    """What the edit was for: did it move, would a control have moved it, is it better than chance."""
    sentences = []
    for metric in _compared(headline(facts, model), model):
        change, n = model["difference"][metric], model["metrics"][metric]["n"]
        if not measurable(change):
            sentences.append(f"no measurable change in {metric}: {change_text(change)} points, n = {n:,}.")
            continue
        before, after = base["metrics"][metric]["value"], model["metrics"][metric]["value"]
        sentences.append(
            f"{metric} {'rose' if change['value'] > 0 else 'fell'} from {per_cent(before)} to {per_cent(after)}: "
            f"{change_text(change)} points, p {_equals(change['p'])}, n = {n:,}."
        )
        if gain(change, facts[metric])["value"] > 0:
            sentences += [_against_controls(report, model, facts[metric])]
            sentences += _against_chance(report, model, facts[metric])
    return sentences


def _against_controls(report: Report, model: Row, facts: Metric) -> str:
    metric = facts.name
    controls = [row for row in controls_of(report, model) if metric in row["difference"]]
    if not controls:
        move = "raise" if facts.better == "more" else "lower"
        return f"no controls were run, so whether other weights would {move} {metric} as much is unknown."
    best = max(controls, key=lambda row: gain(row["difference"][metric], facts)["value"])
    mine, theirs = (gain(row["difference"][metric], facts) for row in (model, best))
    which = f"of {len(controls)} controls" if len(controls) > 1 else "of the control"
    largest = (
        f"the largest {metric} change {which} is {change_text(best['difference'][metric])} points ({best['name']})"
    )
    if mine["low"] > theirs["high"]:
        return f"{largest}: clearly less."
    if mine["value"] > theirs["value"]:
        return f"{largest}: less, but the intervals overlap."
    what = "direction of the change" if best["name"].startswith(SAME_NORM) else "choice of weights"
    return f"{largest}: as much or more, so the gain is not owed to the {what}."


def _against_chance(report: Report, model: Row, facts: Metric) -> list[str]:
    """Only where damage alone can do better than chance: its two rows differ."""
    metric, rate = facts.name, model["metrics"][facts.name]
    independent, collapsed = (report["chance"].get(row, {}).get(metric) for row in ("independent", "collapsed"))
    if independent is None or collapsed is None or independent == collapsed:
        return []
    more = facts.better == "more"
    if rate["low"] > max(independent, collapsed) if more else rate["high"] < min(independent, collapsed):
        levels = f"independent noise ({per_cent(independent)}) and collapsed embeddings ({per_cent(collapsed)})"
        return [f"{metric} {rate_text(rate)} is {'above' if more else 'below'} {levels}."]
    return [
        f"{metric} {per_cent(rate['value'])} is within reach of mere damage (independent noise "
        f"{per_cent(independent)}, collapsed embeddings {per_cent(collapsed)}): judge by controls and knowledge."
    ]


def _cost(facts: Facts, base: Row, model: Row) -> list[str]:
    """What the model lost, of its knowledge and on safe inputs."""
    known = _compared(knowledge(facts, model), model)
    sentences = []
    if not known:
        sentences.append("knowledge was not measured here; `editkit eval zeroshot` does.")
    elif lost := _lost(facts, known, base, model):
        sentences.append(f"knowledge lost: {lost}.")
    else:
        kept = ", ".join(f"{metric} {change_text(model['difference'][metric])}" for metric in known)
        sentences.append(f"no measurable loss of knowledge: {kept}.")
    if lost := _lost(facts, _compared(safe_inputs(facts, model), model), base, model):
        sentences.append(f"less safe on safe inputs: {lost}.")
    return sentences


def _lost(facts: Facts, metrics: list[str], base: Row, model: Row) -> str:
    parts = []
    for metric in metrics:
        change = model["difference"][metric]
        if measurable(change) and gain(change, facts[metric])["value"] < 0:
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
