"""One patch on the screen: its recipe, its data, and what was selected at each site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editkit.cli.console import size_text, write_line
from editkit.cli.table import figure, number, print_table, prose, whole
from editkit.patch.card import rows_of
from editkit.patch.record_file import part_of, recipe_of
from editkit.patch.summary import PatchSummary

SITE_COLUMNS = {
    "count": ("count", ","),
    "share": ("share", ".2%"),
    "mass": ("mass", ".2%"),
    "rows": ("rows", ".1%"),
    "columns": ("columns", ".1%"),
    "weight_correlation": ("with |W|", "+.3f"),
}
"""What the record has of a site -> what the column is called, and the format of its numbers."""


def patch_as_json(patch: PatchSummary) -> dict[str, Any]:
    """Return the record with what the folder alone says, less the digests: programs read those in record.json."""
    summary = {
        "patch": str(patch.folder),
        "bytes": dict(patch.sizes),
        "tensors": len(patch.touched),
        "weights": patch.weights,
        **{key: value for key, value in patch.record.items() if key not in ("base", "files")},
    }
    if isinstance(data := patch.record.get("data"), Mapping):
        summary["data"] = {key: value for key, value in data.items() if key != "tuples"}
    return summary


def print_patch(patch: PatchSummary) -> None:
    """Print a patch: what the record says of it, then a line per site."""
    write_line(f"Patch {patch.folder}")
    tensors = f"{len(patch.touched)} tensor{'' if len(patch.touched) == 1 else 's'} ({', '.join(patch.dtypes)})"
    sizes = ", ".join(f"{name} {size_text(size)}" for name, size in patch.sizes.items())
    facts = [*_about(patch), ("edited", f"{patch.weights:,} weights in {tensors}"), ("on disk", sizes)]
    print_table([whole(), prose()], [(f"  {name}", value) for name, value in facts])
    if patch.sites:
        _print_sites(patch.sites)


def _about(patch: PatchSummary) -> list[tuple[str, str]]:
    """Return what the record says of itself, as (name, value); a part that differs by tower has a line for each."""
    recipe, edited = recipe_of(patch.record), patch.edited_towers
    lines = [(name, _words(recipe[name])) for name in ("model", "data") if recipe.get(name) is not None]
    lines += [("", words) for words in [_data_facts(patch.record.get("data"))] if words]
    if recipe.get("preserve"):
        lines.append(("preserve", _words(recipe["preserve"])))
    if counts := part_of(patch.record, "preserved"):
        lines.append(("", f"{counts.get('texts', 0):,} texts and {counts.get('images', 0):,} images"))
    for name in ("scorer", "selector", "manipulator"):
        values = {tower: part[name] for tower in edited if (part := part_of(recipe, tower)).get(name) is not None}
        if recipe.get(name) is not None:
            lines.append((name, _words(recipe[name])))
        elif len(values) == len(edited) and all(value == values[edited[0]] for value in values.values()):
            lines.append((name, _words(values[edited[0]])))
        else:
            lines += [(name, f"{tower}: {_words(value)}") for tower, value in values.items()]
    return lines + [("not edited", tower) for tower in part_of(patch.record, "towers").get("not_edited") or ()]


def _data_facts(data: Any) -> str:
    """Say what was drawn for calibration; nothing where the record does not."""
    if not isinstance(data, Mapping) or "n" not in data:
        return ""
    left_out = f", {len(data['left_out'])} left out" if data.get("left_out") else ""
    return f"{data['n']} tuples, split {data.get('split')}{left_out}, fingerprint {str(data.get('fingerprint'))[:12]}"


def _words(value: Any) -> str:
    """Say "uwm (aggregation pairs, prior text)" for {"name": "uwm", ...}; other values as they are."""
    if isinstance(value, Mapping):
        options = [f"{key} {_words(item)}" for key, item in value.items() if key != "name" and item is not None]
        name = str(value.get("name", ""))
        return f"{name} ({', '.join(options)})" if name and options else name or ", ".join(options)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    return str(value)


def _print_sites(sites: list[Mapping[str, Any]]) -> None:
    rows = [
        [str(site.get("site", "?")), *(figure(site.get(name), form) for name, (_, form) in SITE_COLUMNS.items())]
        for site in rows_of(sites)
    ]
    counts = [site["count"] for site in sites if isinstance(site.get("count"), int)]
    rows.append([f"{len(sites)} sites", f"{sum(counts):,}"])
    print_table([whole("site"), *(number(head) for head, _ in SITE_COLUMNS.values())], rows)
    write_line("share: of the site's weights; mass: of its scores; rows, columns: part of the")
    write_line("choice in (nearly) whole rows, columns; with |W|: correlation with size.")
