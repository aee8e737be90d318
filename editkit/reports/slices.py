"""What slices say of an edit, in sentences: where its gain does not hold, and where safe inputs suffer."""

from __future__ import annotations

from editkit.reports.facts import ENOUGH, Facts, gain, measurable, primary, safe_inputs, with_change
from editkit.reports.numbers import change_text, per_cent, points, with_p
from editkit.reports.schema import Report, Row, SetReport


def slices_of(report: Report) -> list[SetReport]:
    """Return the slices of a report; none where its sets are those of a benchmark."""
    return [] if "profile" in report else report.get("sets", [])


def across_slices(report: Report, facts: Facts, model: Row) -> list[str]:
    """Say in which slices the gain in the primary metric is not measurable or less than half, and which lose safety."""
    slices = {one["key"]: _row_of(one, model) for one in slices_of(report)}
    metric = primary(facts, report["models"][0])
    if not slices or metric not in model["difference"]:
        return []
    few = [f"{name} ({row['metrics'][metric]['n']})" for name, row in slices.items() if not _enough(row, metric)]
    told = [f"slices with too few tuples to tell, of which {ENOUGH} are the fewest: {', '.join(few)}."] if few else []
    return told + _gains(facts, model, metric, slices) + _losses(facts, report, model)


def _gains(facts: Facts, model: Row, metric: str, slices: dict[str, Row]) -> list[str]:
    whole = gain(model["difference"][metric], facts[metric])["value"]
    if not measurable(model["difference"][metric]) or whole <= 0:
        return [f"no gain in {metric} on the tuples as they come that slices could be held against."]
    none, half, known = [], [], 0
    for name, row in slices.items():
        if not _enough(row, metric):
            continue
        known += 1
        change = row["difference"][metric]
        mine = gain(change, facts[metric])["value"]
        if not measurable(change) or mine <= 0:
            none.append(f"{name} {with_p(change)}")
        elif mine < whole / 2:
            half.append(f"{name} {change_text(change)}")
    told = []
    if none:
        told.append(f"no measurable gain in {metric} in {len(none)} of {known} slices: {'; '.join(none)}.")
    if half:
        all_ = f"less than half of the gain on the tuples as they come ({points(model['difference'][metric]['value'])})"
        told.append(f"{metric}: {all_} in {len(half)} of {known} slices: {'; '.join(half)}.")
    if known and not told:
        told.append(f"{metric} gains at least half as much in each of {known} slices as on the tuples as they come.")
    return told


def _losses(facts: Facts, report: Report, model: Row) -> list[str]:
    found = []
    for one in slices_of(report):
        base, row = one["models"][0], _row_of(one, model)
        lost = [
            f"{metric} {per_cent(base['metrics'][metric]['value'])} to {per_cent(row['metrics'][metric]['value'])}"
            for metric in with_change(safe_inputs(facts, row), row)
            if measurable(row["difference"][metric]) and gain(row["difference"][metric], facts[metric])["value"] < 0
        ]
        found += [f"{one['key']} ({', '.join(lost)})"] if lost else []
    return [f"less safe on safe inputs in {len(found)} slices: {'; '.join(found)}."] if found else []


def _row_of(one: Report, model: Row) -> Row:
    return next(row for row in one["models"] if (row["name"], row["patch"]) == (model["name"], model["patch"]))


def _enough(row: Row, metric: str) -> bool:
    return row["metrics"][metric]["n"] >= ENOUGH
