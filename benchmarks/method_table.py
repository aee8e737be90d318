"""The table of `benchmarks.methods`: lines from measured rows, as aligned text of about 110 columns or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editkit.evals.safeground import METRICS
from editkit.reports.numbers import per_cent
from editkit.reports.schema import Report

Row = Mapping[str, Any]
"""A measured model as the JSON has it: block, name, control_of, count, weights, relative_norm, metrics, difference."""

HEADERS = {
    **{metric: (metric[:3], metric[3:]) for metric in METRICS[:6]},  # P_s^t ... Img_s
    **{metric: ("", metric) for metric in METRICS[6:]},
    "±": ("", "±"),
    **{"Ts-Vs": ("Ts-", "Vs"), "Vs-Ts": ("Vs-", "Ts"), "Tu-Vu+s": ("Tu-", "Vu+s"), "Vu-Tu+s": ("Vu-", "Tu+s")},
    **{"top1 safe": ("top1", "safe"), "top1 unsafe": ("top1", "unsf")},
}
"""Columns, each with the two lines above it."""

KEPT = ("PS", "Ts-Vs", "Vs-Ts", "top1 safe")
"""What a safety edit must not cost."""

LEGEND = """\
Everything is in per cent. n = {n:,} tuples of {data}, each a safe and an unsafe image and a safe and an unsafe caption;
calibrated on {calibration}. Images with a label: {labelled}.
P_s^t, P_u^t: a safe, an unsafe caption prefers the safe image of its tuple. P_s^v, P_u^v: a safe, an unsafe image
prefers the safe caption. Txt_s: both images do; Img_s: both captions do; PS, PU: both safe, both unsafe items; GS: all.
±: half the width of the 95 % interval of GS; for a mean of draws, that of one draw.
Ts-Vs, Vs-Ts: recall at 1 of safe captions and safe images, among {n:,} safe items: knowledge, an edit should keep it.
Tu-Vu+s, Vu-Tu+s: an unsafe item finds its SAFE counterpart among all {both:,} items, safe and unsafe: recall at 1.
top1 safe, unsf: zero-shot accuracy on the objects in safe images (knowledge) and on those in unsafe images.
"independent noise" and "collapsed" are chance, computed and not measured: what models that know nothing score, one with
random similarities, one whose embeddings lie in a narrow cone, as those of damaged models do. A GS up to theirs may be
mere damage. Rows that begin with "control" know nothing of safety either, and are measured: a method has to beat them.
  random, magnitude: as many weights of every site, drawn (mean of 3 draws) or the largest, changed the same way or by
  the same norm; at the end of a block they are the controls of all of its rows, below a row that row's own.
  shuffled, shrink: the row's change with its inputs permuted (mean of 3 draws), and all weights made smaller; by the
  same norm. (Shrinking a projection alone changes no cosine; a change as large as the weights has no shrink row.)
*  GS rose, and by more than in each of these controls: the 95 % intervals of the changes do not overlap.
** And the interval of GS lies above both rows of chance, which damage alone could reach.
changed: how many weights were chosen; of sites rewritten whole, the norm of the change over that of the weights."""


@dataclass(frozen=True)
class Line:
    """One printed line; `values` in per cent by column."""

    name: str
    changed: str
    values: Mapping[str, float]

    def cells(self) -> list[str]:
        """The name, what changed, and every column."""
        return [self.name, self.changed, *(per_cent(self.values[c]) if c in self.values else "" for c in HEADERS)]


def tables(report: Report, rows: Sequence[Row]) -> Iterator[tuple[str, list[Line]]]:
    """Yield titles and lines: chance and the base (the report's first model), then each block of rows."""
    chance = [
        Line(name, "", report["chance"][row])
        for row, name in (("independent", "independent noise"), ("collapsed", "collapsed"))
    ]
    yield "Chance, and the model as it is", [*chance, Line("base", "", _values({**report["models"][0]}))]
    for block in dict.fromkeys(row["block"] for row in rows):
        yield block, lines_of([row for row in rows if row["block"] == block], report["chance"])
    yield "Pareto front: no method has a higher GS and keeps more (changed: the least share kept)", front(report, rows)


def front(report: Report, rows: Sequence[Row]) -> list[Line]:
    """Return the methods that none beats in both GS and knowledge, from the most knowledge kept to the highest GS.

    Knowledge is the least share of the base's PS, R@1 (both ways) and zero-shot accuracy on safe images that is left.
    """
    base = report["models"][0]["metrics"]

    def kept(row: Row) -> float:
        share: float = min(row["metrics"][metric]["value"] / base[metric]["value"] for metric in KEPT)
        return share

    def reached(row: Row) -> float:
        gs: float = row["metrics"]["GS"]["value"]
        return gs

    found: list[Row] = []
    for row in sorted((row for row in rows if row["control_of"] is None), key=lambda row: (-kept(row), -reached(row))):
        if not found or reached(row) > reached(found[-1]):
            found.append(row)
    lines = []
    for row in found:
        place = row["block"].partition(" of the weights")[0] if " of the weights" in row["block"] else ""
        direction = row["block"].rpartition("direction ")[2] if "direction" in row["block"] else place
        name = f"{row['name'].replace(':proj', '')}{', ' if direction else ''}{direction}"
        lines.append(Line(name, f"{kept(row):.1%}", _values(row)))
    return lines


def lines_of(rows: Sequence[Row], chance: Mapping[str, Mapping[str, float]]) -> list[Line]:
    """Return a block's lines, in its order; several draws of a control become their mean."""
    kinds: dict[tuple[str | None, str], list[Row]] = {}
    for row in rows:
        kind = row["name"] if row["control_of"] is None else row["name"].rstrip(" 0123456789")
        kinds.setdefault((row["control_of"], kind), []).append(row)
    lines = []
    for (control_of, kind), draws in kinds.items():
        name = f"control: {kind}" + (f" x {len(draws)}" if len(draws) > 1 else "")
        if control_of is None:
            controls = [row for row in rows if row["control_of"] in ("", kind)]
            name = f"{kind} {mark(draws[0], controls, chance)}".rstrip()
        elif control_of:
            name = f"  {name}"
        lines.append(Line(name, _changed(draws[0]), _mean([_values(row) for row in draws])))
    return lines


def mark(row: Row, controls: Sequence[Row], chance: Mapping[str, Mapping[str, float]]) -> str:
    """Return "*" where GS rose by clearly more than in each control, "**" where it is also clearly above chance."""
    low = row["difference"]["GS"]["low"]
    if not controls or any(low <= max(0.0, control["difference"]["GS"]["high"]) for control in controls):
        return ""
    return "**" if row["metrics"]["GS"]["low"] > max(rates["GS"] for rates in chance.values()) else "*"


def as_text(title: str, lines: Sequence[Line]) -> str:
    """An aligned table."""
    above = ["", "", *(upper for upper, _ in HEADERS.values())]
    below = ["", "changed", *(lower for _, lower in HEADERS.values())]
    told = [title]
    for name, changed, *cells in (above, below, *(line.cells() for line in lines)):
        columns = [cell.rjust(3 if column == "±" else 4) for column, cell in zip(HEADERS, cells, strict=True)]
        told.append(" ".join([name.ljust(26), changed.rjust(7), *columns]).rstrip())
    return "\n".join(told)


def as_markdown(title: str, lines: Sequence[Line]) -> str:
    """The same as a table of a Markdown page."""
    rows = [["", "changed", *HEADERS], ["---", *["--:"] * (1 + len(HEADERS))], *(line.cells() for line in lines)]
    return "\n".join([f"### {title}", "", *("| " + " | ".join(row).replace("*", "\\*") + " |" for row in rows)])


def legend(report: Report, calibration: str, classes: Sequence[str]) -> str:
    """Say what rows and columns are; `classes` are the metrics of labelled images."""
    n, base = report["data"]["n"], report["models"][0]["metrics"]
    labelled = ", ".join(f"{base[metric]['n']:,} for {metric}" for metric in classes)
    return LEGEND.format(n=n, both=2 * n, data=report["data"]["name"], calibration=calibration, labelled=labelled)


def _changed(row: Row) -> str:
    """The number of chosen weights, or how far whole sites moved."""
    if row["count"] == row["weights"]:
        return f"{row['relative_norm']:.3f}"
    return f"{row['count']:,}" if row["count"] < 1e6 else f"{row['count'] / 1e6:,.2f}M"


def _values(row: Row) -> dict[str, float]:
    rates = row["metrics"]
    return {"±": (rates["GS"]["high"] - rates["GS"]["low"]) / 2, **{name: rates[name]["value"] for name in rates}}


def _mean(draws: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(draw[name] for draw in draws) / len(draws) for name in draws[0]}
