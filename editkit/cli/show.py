"""`editkit show`: what a patch is and what it chose, from its record alone (numpy only to compare several)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from editkit.cli import next_step
from editkit.cli.console import cell, emit_json, print_next, write_line
from editkit.cli.session import Session
from editkit.patch.card import rows_of
from editkit.patch.record_file import RECORD, TENSORS, part_of, read_record, recipe_of

WIDTH, INDENT = 80, 15
SITE_COLUMNS = (("share", ".2%", 8), ("mass", ".2%", 8), ("rows", ".1%", 8), ("columns", ".1%", 9))


def show(
    ctx: typer.Context,
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH ...", help="Patch folders.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a patch is: its recipe, and per site what was selected; of several, how far they chose the same."""
    from editkit.cli.render_overlap import overlap_as_json, print_overlaps

    if len(patches) > 1:
        from editkit.patch.overlap import compare_all

        records, pairs = compare_all(patches)
    else:
        records, pairs = [read_record(patches[0].expanduser())], []
    summaries = [_summary(folder, record) for folder, record in zip(patches, records, strict=True)]
    if json_:
        emit_json({"patches": summaries, "overlap": [overlap_as_json(pair) for pair in pairs]})
        return
    if pairs:
        print_overlaps(summaries, pairs)
        next_words = next_step.evaluate_patches({}, patches)
    else:
        _print(summaries[0], records[0])
        next_words = next_step.apply_patch(records[0], patches[0])
    print_next(Session.of(ctx).command(*next_words))


def _summary(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with what only the folder says, less the digests: those are for programs that read record.json."""
    touched = record["base"]["touched"]
    summary = {
        "patch": str(folder),
        "bytes": {name: (folder.expanduser() / name).stat().st_size for name in (TENSORS, RECORD)},
        "tensors": len(touched),
        "weights": sum(entry.get("changed", 0) for entry in touched.values()),
        **{key: value for key, value in record.items() if key not in ("base", "files")},
    }
    if isinstance(data := record.get("data"), Mapping):
        summary["data"] = {key: value for key, value in data.items() if key != "tuples"}
    return summary


def _print(summary: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    dtypes = sorted({entry["dtype"] for entry in record["base"]["touched"].values()})
    write_line(f"Patch {summary['patch']}")
    for name, value in _about(record):
        _fact(name, value)
    tensors = f"{summary['tensors']} tensor{'' if summary['tensors'] == 1 else 's'} ({', '.join(dtypes)})"
    _fact("edited", f"{summary['weights']:,} weights in {tensors}")
    _fact("on disk", ", ".join(f"{name} {_size(size)}" for name, size in summary["bytes"].items()))
    if sites := [site for site in record.get("sites") or [] if isinstance(site, Mapping)]:
        _print_sites(sites)


def _about(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the record says of itself, as (name, value); a part that differs by tower gets a line for each."""
    recipe = recipe_of(record)
    lines = [(name, _words(recipe[name])) for name in ("model", "data") if recipe.get(name) is not None]
    lines += [("", words) for words in [_data_facts(record.get("data"))] if words]
    edited = part_of(record, "towers").get("edited") or ("text", "vision")
    for name in ("scorer", "selector", "manipulator"):
        values = {tower: part[name] for tower in edited if (part := part_of(recipe, tower)).get(name) is not None}
        if recipe.get(name) is not None:
            lines.append((name, _words(recipe[name])))
        elif len(values) == len(edited) and all(value == values[edited[0]] for value in values.values()):
            lines.append((name, _words(values[edited[0]])))
        else:
            lines += [(name, f"{tower}: {_words(value)}") for tower, value in values.items()]
    lines += [("not edited", tower) for tower in part_of(record, "towers").get("not_edited") or ()]
    return lines


def _data_facts(data: Any) -> str:
    """What was drawn for calibration, or an empty string."""
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
    heads = "".join(f"{name:>{width}}" for name, _, width in SITE_COLUMNS)
    write_line(f"  {'site':<20}{'count':>11}{heads}{'with |W|':>10}")
    for site in rows_of(sites):
        cells = "".join(cell(site.get(name), form, width) for name, form, width in (("count", ",", 11), *SITE_COLUMNS))
        write_line(f"  {site.get('site', '?')!s:<20}{cells}{cell(site.get('weight_correlation'), '+.3f', 10)}")
    counts = [site["count"] for site in sites if isinstance(site.get("count"), int)]
    write_line(f"  {f'{len(sites)} sites':<20}{sum(counts):>11,}")
    write_line("  share: of the site's weights; mass: of its scores; rows, columns: part of the")
    write_line("  choice in (nearly) whole rows, columns; with |W|: correlation with size.")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _fact(name: str, value: str) -> None:
    indent = " " * INDENT
    text = fill(value, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    write_line(f"  {name:<{INDENT - 3}} {text.lstrip()}")
