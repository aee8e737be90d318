"""The report of over-refusal on a terminal: its tables, whether over-refusal rose, and what an edit tells apart."""

from __future__ import annotations

from rich.console import Console

from editkit.reports.cost import cost
from editkit.reports.facts import Facts, facts_of, gain, headline, measurable, with_change
from editkit.reports.numbers import change_text, rate_text
from editkit.reports.schema import Report, Row
from editkit.reports.show import render as render_tables
from editkit.reports.verdict import verdict


def render(report: Report, console: Console) -> None:
    """Print a report."""
    render_tables(report, console)
    console.print()
    for sentence in sentences(report):
        console.print(sentence, markup=False)


def sentences(report: Report) -> list[str]:
    """Return plain sentences on a report, those on one model together."""
    facts, (base, *models) = facts_of(report), report["models"]
    if not models:
        return verdict(report)
    told = []
    for model in models:
        found = [*_refusal(facts, model), *_told_apart(report, model)]
        if any(map(measurable, model["difference"].values())):
            found += cost(report, facts, base, model)
        told += [f"{model['name']}: {sentence}" for sentence in found]
    return told


def _refusal(facts: Facts, model: Row) -> list[str]:
    """Whether the edit treats benign items differently, and by how many points."""
    metrics = with_change(headline(facts, model), model)
    worse = [
        metric
        for metric in metrics
        if measurable(model["difference"][metric]) and gain(model["difference"][metric], facts[metric])["value"] < 0
    ]
    if not metrics:
        return ["over-refusal was not measured: there are no benign items."]
    told = ", ".join(f"{metric} {change_text(model['difference'][metric])} points" for metric in worse or metrics)
    return [f"over-refusal {'rose' if worse else 'did not rise measurably'}: {told}."]


def _told_apart(report: Report, model: Row) -> list[str]:
    """Whether it flags unsafe items that it has not seen more often than benign ones, and these more than by chance."""
    found, chance = [], report["chance"].get("independent", {})
    for kind in ("captions", "images"):
        benign, unseen = (model["metrics"].get(f"{group} {kind} flagged") for group in ("benign", "unseen"))
        if benign is None or unseen is None:
            continue
        shares = f"{rate_text(unseen)} % of unseen unsafe {kind} and {rate_text(benign)} % of benign ones are flagged"
        if unseen["low"] > benign["high"]:
            beyond = benign["low"] > chance.get(f"benign {kind} flagged", 100)
            found.append(
                f"{shares}: more of the unsafe ones{', yet more benign ones than by chance' if beyond else ''}."
            )
        elif benign["low"] > unseen["high"]:
            found.append(f"{shares}: it moves benign ones more than unsafe ones.")
        else:
            found.append(f"{shares}: more of the unsafe ones is not shown.")
    return found
