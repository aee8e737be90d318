"""The linear filter beside edits: what each detects, and whether an edit gains more than hiding what it flags."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from editkit.components.metric import Metric
from editkit.reports.facts import ENOUGH, LEVEL, Facts, gain, knowledge, primary
from editkit.reports.numbers import change_text, per_cent, rate_text, with_p
from editkit.reports.schema import Detection, FilterFacts, Report, Row
from editkit.reports.terminal import Column, print_table

ITEMS = {"text": "captions", "image": "images"}
"""What the items of a modality are called."""


def print_detection(report: Report, console: Console) -> None:
    """Print how many unsafe and safe items the filter flags, and each edit moves far, if a filter was fitted."""
    if "filter" not in report:
        return
    found = report["filter"]
    about = found["calibration"]
    console.print("\nDetection, with 95 % intervals", style="bold")
    console.print(
        f"Flagged by a filter on {about['name']} (n = {about['n']:,}), or moved by an edit further than 99 % of its "
        "safe items, so that chance is 1.0.",
        style="dim",
        markup=False,
    )
    lines = [
        (f"{name}: {ITEMS.get(modality, modality)}", detection)
        for name, detections in _all(found)
        for modality, detection in detections.items()
    ]
    print_table(
        console,
        [Text(name) for name, _ in lines],
        [
            Column("of the unsafe", [Text(rate_text(one["detected"])) for _, one in lines]),
            Column("of the safe", [Text(rate_text(one["false_positives"])) for _, one in lines]),
            Column("n", [Text(f"{one['detected']['n']:,}") for _, one in lines]),
        ],
    )


def _all(found: FilterFacts) -> list[tuple[str, dict[str, Detection]]]:
    edits = [(edit["name"], edit["detection"]) for edit in found["edits"]]
    return [(found["model"]["name"], found["detection"]), *edits]


def filter_alone(report: Report, facts: Facts) -> list[str]:
    """Say what the filter finds, and what hiding it gives."""
    if "filter" not in report:
        return []
    found, metric = report["filter"], _metric(report, facts).name
    detections = found["detection"].items()
    finds = " and ".join(f"{per_cent(one['detected']['value'])} % of unsafe {ITEMS[m]}" for m, one in detections)
    flags = " and ".join(f"{per_cent(one['false_positives']['value'])} % of safe {ITEMS[m]}" for m, one in detections)
    row = found["model"]
    return [
        f"{row['name']}: without any edit it finds {finds}, and flags {flags}; hiding these, {metric} is "
        f"{rate_text(row['metrics'][metric])}."
    ]


def against_filter(report: Report, facts: Facts, model: Row) -> list[str]:
    """Say whether an edit gains more than the filter by the primary metric; nothing where there is no filter."""
    edits = report["filter"]["edits"] if "filter" in report else []
    for edit in edits:
        if (edit["name"], edit["patch"]) != (model["name"], model["patch"]):
            continue
        metric = _metric(report, facts)
        change, n = edit["difference"][metric.name], model["metrics"][metric.name]["n"]
        if n < ENOUGH:
            return []
        gained = gain(change, metric)
        more = "does not measurably gain more than" if change["p"] >= LEVEL else "gains less than"
        more = "gains more than" if change["p"] < LEVEL and gained["value"] > 0 else more
        known = [name for name in knowledge(facts, model) if name in edit["difference"]]
        kept = ", ".join(f"{name} {change_text(edit['difference'][name])}" for name in known)
        told = f"; in knowledge, edit minus filter: {kept}" if kept else ""
        return [f"{more} the linear filter: {metric.name} {with_p(change)}{told}."]
    return []


def _metric(report: Report, facts: Facts) -> Metric:
    return facts[primary(facts, report["models"][0])]
