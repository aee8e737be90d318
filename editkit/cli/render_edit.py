"""A finished edit on the screen: what was selected where, what was left out, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from editkit.api.carry_out import Edited
from editkit.cli import next_step
from editkit.cli.console import note, write_line
from editkit.cli.session import Session
from editkit.cli.table import figure, number, print_table, whole
from editkit.patch.card import method_of, rows_of

REMARKED = ("cells_left_out", "empty_columns", "zero_rows")
"""Counts of degenerate cases that have words of their own."""


def print_edit(result: Edited, session: Session) -> None:
    """Print the choice per site, then its totals, what was odd, and the next command."""
    record = result.patch.record
    for line in result.plan.files.notes:
        note(line)
    for tower in record["towers"]["edited"]:
        write_line(Text.assemble((tower, "bold"), f"  {method_of(record['recipe'], tower)}"))
    for tower in record["towers"]["not_edited"]:
        write_line(f"The {tower} tower has no target: it is not edited.", "yellow")
    rows = map(_site_row, rows_of(record["sites"]))
    print_table([whole("site"), *map(number, ("selected", "of", "share", "mass"))], rows)
    for line in remarks(record):
        write_line(line, "yellow")
    _print_places(result)
    measured = next_step.evaluate_patches([record], [result.folder], session.host)
    if measured is not None:
        next_step.print_step(session, measured)
    if measured is None or measured.lacking:
        next_step.print_step(session, next_step.apply_patch(record, result.folder))


def _site_row(site: Mapping[str, Any]) -> list[str]:
    mass = figure(site.get("mass"), ".2%")
    return [site["site"], f"{site['count']:,}", f"{site['size']:,}", f"{site['share']:.2%}", mass]


def _print_places(result: Edited) -> None:
    write_line(Text.assemble(f"\n{_changed(result):,} weights changed. Patch: ", (str(result.folder), "bold")))
    if result.saved is not None:
        write_line(Text.assemble("Edited model: ", (str(result.saved.output), "bold")))
        if result.saved.left_out:
            write_line(f"Left out, because they hold unedited weights: {', '.join(result.saved.left_out)}")


def remarks(record: dict[str, Any]) -> list[str]:
    """Return what the run left out or found degenerate, one line each."""
    lines = []
    for tower, reasons in record["dropped"].items():
        for reason, entry in reasons.items():
            ids = ", ".join(entry["ids"][:3]) + (" ..." if entry["count"] > 3 else "")
            lines.append(f"{tower}: {entry['count']} pairs left out, {reason} ({ids})")
    counts = record["degenerate"]
    if counts.get("cells_left_out"):
        lines.append(f"{counts['cells_left_out']:,} (pair, input) ratios were undefined and left out of their means.")
    if counts.get("empty_columns") or counts.get("zero_rows"):
        lines.append(
            f"{counts.get('empty_columns', 0):,} inputs whose ratio is undefined and {counts.get('zero_rows', 0):,} "
            "rows of zero weights scored 0."
        )
    others = {name.replace("_", " "): count for name, count in counts.items() if count and name not in REMARKED}
    lines += [f"{count:,} {name} were noted by the scorer." for name, count in others.items()]
    negative = [site["negative"] for site in record["sites"] if site.get("negative")]
    if negative:
        lines.append(f"Up to {max(negative):.0%} of a site's |score| is negative and was counted as 0.")
    left_out = record.get("data", {}).get("left_out", [])
    lines += [f"data: {entry['id']} incomplete, {entry['reason']}" for entry in left_out[:3]]
    lines += record.get("preserved", {}).get("warnings", [])
    return lines


def edit_as_json(result: Edited) -> dict[str, Any]:
    """Return a finished edit as one JSON object; the tuples' digests stay in record.json."""
    record = dict(result.patch.record)
    if "data" in record:
        record["data"] = {name: value for name, value in record["data"].items() if name != "tuples"}
    return {
        "schema": "editkit.edit/1",
        "patch": str(result.folder),
        "saved": None if result.saved is None else str(result.saved.output),
        "weights": _changed(result),
        "notes": [*result.plan.files.notes, *result.notes],
        "record": record,
    }


def _changed(result: Edited) -> int:
    """Return how many elements differ, biases among them: selected weights may be few of them, or more."""
    return sum(change.count for change in result.patch.changes.values())
