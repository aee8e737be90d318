"""`editkit show`: what a patch is and what it chose, from its record alone: no model, no torch, no numpy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from editkit.cli.console import emit_json, out
from editkit.patch_record import RECORD, TENSORS, read_record

WIDTH, INDENT = 80, 15
SITE_COLUMNS = (("share", ".2%", 8), ("mass", ".2%", 8), ("rows", ".1%", 8), ("columns", ".1%", 9))


def show(
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH ...", help="Patch folders.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what patches are: their recipe, and per site what was selected."""
    records = [(folder, read_record(folder.expanduser())) for folder in patches]
    if json_:
        emit_json({"patches": [_summary(folder, record) for folder, record in records]})
        return
    for folder, record in records:
        _print(folder, record)


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


def _print(folder: Path, record: Mapping[str, Any]) -> None:
    summary = _summary(folder, record)
    dtypes = sorted({entry["dtype"] for entry in record["base"]["touched"].values()})
    _line(f"Patch {folder}")
    for name, value in _about(record):
        _fact(name, value)
    tensors = f"{summary['tensors']} tensor{'' if summary['tensors'] == 1 else 's'} ({', '.join(dtypes)})"
    _fact("edited", f"{summary['weights']:,} weights in {tensors}")
    _fact("on disk", ", ".join(f"{name} {_size(size)}" for name, size in summary["bytes"].items()))
    sites = [site for site in record.get("sites") or [] if isinstance(site, Mapping)]
    if sites:
        _print_sites(sites)
    model = _recipe(record).get("model")
    patch = shlex.quote(str(folder))
    _line(f"Next: editkit apply {patch} {shlex.quote(model) if isinstance(model, str) else 'MODEL'} -o {patch}-model")


def _about(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the record says of itself, as (name, value); a part that differs by tower gets a line for each."""
    recipe = _recipe(record)
    lines = [(name, _words(recipe[name])) for name in ("model", "data") if recipe.get(name) is not None]
    lines += [("", words) for words in [_data_facts(record.get("data"))] if words]
    edited = _part(record, "towers").get("edited") or ("text", "vision")
    for name in ("scorer", "selector", "manipulator"):
        values = {tower: part[name] for tower in edited if (part := _part(recipe, tower)).get(name) is not None}
        if recipe.get(name) is not None:
            lines.append((name, _words(recipe[name])))
        elif len(values) == len(edited) and all(value == values[edited[0]] for value in values.values()):
            lines.append((name, _words(values[edited[0]])))
        else:
            lines += [(name, f"{tower}: {_words(value)}") for tower, value in values.items()]
    lines += [("not edited", tower) for tower in _part(record, "towers").get("not_edited") or ()]
    return lines


def _data_facts(data: Any) -> str:
    """What was drawn for calibration, or an empty string."""
    if not isinstance(data, Mapping) or "n" not in data:
        return ""
    left_out = f", {len(data['left_out'])} left out" if data.get("left_out") else ""
    return f"{data['n']} tuples, split {data.get('split')}{left_out}, fingerprint {str(data.get('fingerprint'))[:12]}"


def _recipe(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return _part(record, "recipe") or record


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}


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
    _line(f"  {'site':<20}{'count':>11}{heads}{'with |W|':>10}")
    for site in sites:
        cells = "".join(_cell(site.get(name), form, width) for name, form, width in SITE_COLUMNS)
        count = _cell(site.get("count"), ",", 11)
        _line(f"  {site.get('site', '?')!s:<20}{count}{cells}{_cell(site.get('weight_correlation'), '+.3f', 10)}")
    counts = [site["count"] for site in sites if isinstance(site.get("count"), int)]
    _line(f"  {f'{len(sites)} sites':<20}{sum(counts):>11,}")
    _line("  share: of the site's weights; mass: of its scores; rows, columns: part of the")
    _line("  choice in (nearly) whole rows, columns; with |W|: correlation with size.")


def _cell(value: Any, form: str, width: int) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{format(value, form) if number else '-':>{width}}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _fact(name: str, value: str) -> None:
    indent = " " * INDENT
    text = fill(value, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    _line(f"  {name:<{INDENT - 3}} {text.lstrip()}")


def _line(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)  # a long path is never cut: it is there to be copied
