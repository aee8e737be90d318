"""Which metrics of a report are told first, and how numbers are written: shared by the tables and the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from editkit.reports.schema import Difference, Rate, Report, Row

KNOWLEDGE = ("Ts-Vs", "Vs-Ts", "top1")
"""What a model must still be able to do after an edit; also with a suffix (`Ts-Vs@5`)."""


@dataclass(frozen=True)
class Layout:
    """How one evaluation is shown. `headline`: what the edit was for; `changes`: rows of the table of changes."""

    title: str
    items: str
    headline: tuple[str, ...]
    changes: tuple[str, ...]
    safe_side: tuple[str, ...] = ()
    """Safety of safe inputs, which an edit made for unsafe ones may cost."""


_LAYOUTS = {
    "safeground": Layout("SafeGround", "tuples", ("GS",), ("GS", "PS", "PU"), ("P_s^t", "P_s^v", "PS")),
    "retrieval": Layout("Retrieval, R@k", "tuples", ("Tu-Vu+s", "Vu-Tu+s"), ("Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s")),
    "zeroshot": Layout("Zero-shot", "images", (), ("top1", "top5", "mean_per_class")),
}


def layout_of(report: Report) -> Layout:
    """Return the layout of a report's evaluation; one of another plugin leads with its first four metrics."""
    name, metrics = report["evaluation"], report["models"][0]["metrics"]
    if name in ("captioning", "judge"):  # SIDE:METRIC:AGAINST
        first = tuple(metric for metric in metrics if metric.split(":")[1] in ("pct_NSFW", "RougeL"))
    else:
        first = tuple(metric for metric in metrics if not is_knowledge(metric))[:4]
    return _LAYOUTS.get(name) or Layout(name, "items", first, first)


def is_knowledge(metric: str) -> bool:
    """Whether a metric measures what the model still knows."""
    return metric.startswith(KNOWLEDGE)


def present(metrics: Iterable[str], row: Row) -> list[str]:
    """Those of `metrics` that were measured, each once."""
    return [metric for metric in dict.fromkeys(metrics) if metric in row["metrics"]]


def knowledge_of(row: Row) -> list[str]:
    """The knowledge metrics to tell of: R@1 and top-1, the larger k only where k = 1 was not measured."""
    found = [metric for metric in row["metrics"] if is_knowledge(metric)]
    return [metric for metric in found if "@" not in metric] or found


def controls_of(report: Report, model: Row) -> list[Row]:
    """The controls matched to this model's patch, and those that match no patch in particular."""
    return [row for row in report["controls"] if row["patch"] in (None, model["patch"])]


def per_cent(value: float) -> str:
    """Four characters at most: 8.3, 50.0, 100."""
    return "100" if value > 99.95 else f"{value:.1f}"


def points(value: float) -> str:
    """A signed difference; "0.0" has no sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def rate_text(rate: Rate) -> str:
    """`4.5 [3.9, 5.1]`."""
    return f"{per_cent(rate['value'])} [{per_cent(rate['low'])}, {per_cent(rate['high'])}]"


def change_text(change: Difference) -> str:
    """`+0.1 [-0.2, +0.4]`."""
    return f"{points(change['value'])} [{points(change['low'])}, {points(change['high'])}]"


def p_text(p: float) -> str:
    """`0.62`, `0.003`, `<0.001`."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.2f}" if p >= 0.01 else f"{p:.3f}"
