"""The page: what was measured as Markdown tables, with what they say in words that follow from them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results.choose import EXPOSURE, KEPT, RISE, Tried
from benchmarks.results.measure import SHORT, UNSEEN, Measured, front, goals
from editkit.reports.schema import Report, Row

MAIN = ("GS", "PS", "Ts-Vs", "Vs-Ts", "top1")
HEADS = ("GS", "PS", "Ts-Vs", "Vs-Ts", "top1", "kept", "GS short", "GS unseen", "safe q.", "neutral q.", "price")
FLAGGED = ("benign captions", "benign images", "unseen captions", "unseen images")


def page(tried: Sequence[Tried], measured: Sequence[Measured], beside: Report) -> str:
    """Return the whole page."""
    base, *edits = measured
    parts = [
        "# All methods, measured",
        _first(base, edits),
        _reach(tried, beside),
        _about(tried, beside),
        "## What an edit does, and what it costs",
        _main(measured, beside),
        "## Benign look-alikes, and concepts that calibration does not have",
        _flagged(measured),
        "## The goal",
        _goals(base, edits),
        "## Pareto front",
        _front(measured),
        "## What was tried",
        _tried(tried),
    ]
    return "\n\n".join(parts) + "\n"


def _about(tried: Sequence[Tried], beside: Report) -> str:
    families = len({one.candidate.family for one in tried})
    return (
        f"`python -m benchmarks.results RUNS --page docs/results.md` wrote this page: "
        f"{len(tried)} settings in {families} families of methods, each calibrated on the demo's calibration tuples. "
        "In each family the setting of highest GS on validation tuples is chosen among those that keep "
        f"{100 * KEPT:.0f} % of PS and of R@1 and raise the exposure of safe and neutral queries by at most {RISE:g} "
        "point; where there is none, the one that lacks least. Everything below is measured on "
        f"{beside['data']['n']:,} test tuples, in per cent. `blend`, `merge` and `lora` need another checkpoint or an "
        "adapter, which the demo does not have. One small model, one kind of data: a method that does badly here may "
        "do well elsewhere."
    )


def _first(base: Measured, edits: Sequence[Measured]) -> str:
    reached = {one.name: [goal for goal, met in goals(one, base).items() if not met] for one in edits}
    whole = [name for name, lacking in reached.items() if not lacking]
    if whole:
        return f"**The goal is reached by: {', '.join(whole)}.**"
    cheap = [one for one in edits if one.kept >= KEPT and one.rise <= RISE]
    nearest = max(cheap or edits, key=lambda one: one.value("GS"))
    low, high = nearest.rates["GS"]["low"], nearest.rates["GS"]["high"]
    return (
        f"**No method reaches the goal.** Of those that keep {100 * KEPT:.0f} % and raise exposure by at most {RISE:g} "
        f"point, `{nearest.name}` goes furthest: GS {nearest.value('GS'):.1f} [{low:.1f}, {high:.1f}], from "
        f"{base.value('GS'):.1f}. It lacks: {'; '.join(reached[nearest.name])}."
    )


def _reach(tried: Sequence[Tried], beside: Report) -> str:
    """What the settings that were tried trade for what, and what a filter finds in the embeddings."""
    parts = []
    for least in (60, 50, 35):
        if there := [one for one in tried if one.gs >= least]:
            most = max(there, key=lambda one: one.kept)
            parts.append(f"GS {least} or more keeps at most {100 * most.kept:.0f} % (`{most.candidate.name}`)")
        else:
            parts.append(f"no setting has GS {least}")
    told = f"On validation tuples, of all settings: {'; '.join(parts)}."
    if "filter" not in beside:
        return told
    found = [
        f"{one['detected']['value']:.1f} % of unsafe {what} and {one['false_positives']['value']:.1f} % of safe ones"
        for what, one in zip(("captions", "images"), beside["filter"]["detection"].values(), strict=True)
    ]
    return f"{told} A linear filter on the unedited embeddings flags {', and '.join(found)}."


def _main(measured: Sequence[Measured], beside: Report) -> str:
    rows = [[one.name, *_numbers(one)] for one in measured]
    chance = [
        [name, *(f"{levels[metric]:.1f}" for metric in MAIN), "", "", "", *(f"{levels[m]:.1f}" for m in EXPOSURE), ""]
        for name, levels in beside["chance"].items()
    ]
    others = [("linear filter", beside["filter"]["model"])] if "filter" in beside else []
    if wrecked := beside.get("wrecked"):
        best = max(wrecked, key=lambda row: row["metrics"]["GS"]["value"])
        others.append((f"best of {len(wrecked)} wrecks", best))
    told = [[name, *_of_row(row)] for name, row in others]
    about = (
        "GS with its 95 % interval. kept: the smallest share of PS, R@1 and zero-shot accuracy that is left. GS short: "
        f"`{SHORT}`. GS unseen: the mean of `{'`, `'.join(UNSEEN)}`. safe q., neutral q.: unsafe images among the "
        "first ten that a query finds. price: how many pairs an attacker needs to have 90 % of the base's 1-P_u^t "
        "back (-: it is there without an attack). The linear filter edits nothing: it hides what it flags. A wreck is "
        "the model destroyed on purpose: a GS below its says nothing by itself."
    )
    return _table(("", *HEADS), [*chance, *told, *rows]) + "\n\n" + about


def _numbers(one: Measured) -> list[str]:
    gs = one.rates["GS"]
    return [
        f"{gs['value']:.1f} [{gs['low']:.1f}, {gs['high']:.1f}]",
        *(f"{one.value(metric):.1f}" for metric in MAIN[1:]),
        f"{100 * one.kept:.0f} %",
        f"{one.value(SHORT):.1f}",
        f"{one.unseen:.1f}",
        *(f"{one.value(metric):.1f}" for metric in EXPOSURE),
        _price(one),
    ]


def _price(one: Measured) -> str:
    return {None: "> 50", 0: "-"}.get(one.price, str(one.price))


def _of_row(row: Row) -> list[str]:
    found = {metric: rate["value"] for metric, rate in row["metrics"].items()}
    return [*(f"{found[m]:.1f}" for m in MAIN), "", "", "", *(f"{found[m]:.1f}" for m in EXPOSURE), ""]


def _flagged(measured: Sequence[Measured]) -> str:
    rows = [
        [one.name, *(f"{one.value(f'{what} flagged'):.1f}" for what in FLAGGED)]
        for one in measured
        if one.name != "base"
    ]
    about = (
        "Flagged: moved by the edit further than 99 % of the safe calibration items, so that chance is 1. Benign "
        "look-alikes show an object that is unsafe elsewhere where it belongs."
    )
    return _table(("", *FLAGGED), rows) + "\n\n" + about


def _goals(base: Measured, edits: Sequence[Measured]) -> str:
    parts = list(goals(edits[0], base))
    rows = [[one.name, *("yes" if met else "" for met in goals(one, base).values())] for one in edits]
    return _table(("", *parts), rows)


def _front(measured: Sequence[Measured]) -> str:
    best = front(measured)
    rows = [
        [
            one.name,
            f"{one.value('GS'):.1f}",
            f"{100 * one.kept:.0f} %",
            f"{one.rise:+.1f}",
            f"{one.over_refusal:.1f}",
            _price(one),
        ]
        for one in sorted(best, key=lambda one: -one.value("GS"))
    ]
    about = f"No other of the {len(measured)} is at least as good in all five and better in one."
    return _table(("", "GS", "kept", "exposure", "over-refusal", "price"), rows) + "\n\n" + about


def _tried(tried: Sequence[Tried]) -> str:
    rows = [
        [
            one.candidate.family,
            f"`{one.candidate.name}`",
            f"{one.gs:.1f}",
            f"{100 * one.kept:.0f} %",
            f"{one.rise:+.1f}",
        ]
        for one in sorted(tried, key=lambda one: (one.candidate.family, one.lacking, -one.gs))
    ]
    return "On validation tuples; the first of each family is the chosen one.\n\n" + _table(
        ("family", "setting", "GS", "kept", "exposure"), rows
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
