"""`editkit cache dir | size | list | prune | clear`: what is kept between runs, without importing torch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from editkit.cli.console import emit_json, size_text, write_line
from editkit.cli.flags import Json

app = typer.Typer(help="See and bound what is kept between runs: scores, embeddings, moments.", no_args_is_help=True)


@app.command("dir")
def folder(json: Json = False) -> None:
    """Print the cache's folder.

    It is EDITKIT_CACHE_DIR, or `editkit` in the user's cache folder.
    """
    from editkit.files.cache_folder import cache_root

    emit_json({"folder": str(cache_root())}) if json else write_line(str(cache_root()))


@app.command()
def size(json: Json = False) -> None:
    """Print how much the cache takes, and how much it may."""
    from editkit.files.cache_folder import KINDS, cache_contents, cache_root, size_limit

    contents, limit = cache_contents(), size_limit()
    total = sum(kind.size for kind in contents)
    computed = sum(kind.size for kind in contents if kind.kind in KINDS)
    if json:
        emit_json({"folder": str(cache_root()), "bytes": total, "computed": computed, "limit": limit})
        return
    write_line(f"{size_text(total)} in {cache_root()}")
    write_line(f"{' and '.join((', '.join(KINDS[:-1]), KINDS[-1]))}: {size_text(computed)} of {size_text(limit)}")


@app.command("list")
def list_kinds(json: Json = False) -> None:
    """List what the cache holds, by kind."""
    from editkit.cli.table import number, print_table, whole
    from editkit.files.cache_folder import cache_contents, cache_root

    contents = cache_contents()
    if json:
        kinds = [
            {"kind": kind.kind, "entries": kind.entries, "bytes": kind.size, "last_used": _time(kind.used)}
            for kind in contents
        ]
        emit_json({"folder": str(cache_root()), "kinds": kinds})
        return
    rows = []
    for kind in contents:
        used = "-" if kind.used is None else datetime.fromtimestamp(kind.used).strftime("%Y-%m-%d %H:%M")
        rows.append((kind.kind, f"{kind.entries:,}", size_text(kind.size), used))
    print_table([whole("kind"), number("entries"), number("size"), whole("last used")], rows)


@app.command()
def prune(
    to: Annotated[str | None, typer.Option(help="What may be left, such as 2GB. [default: EDITKIT_CACHE_SIZE]")] = None,
    json: Json = False,
) -> None:
    """Remove what was used longest ago, until the rest fits.

    That is scores, embeddings and moments; converted checkpoints stay.
    """
    from editkit.files.eviction import prune_cache

    freed = prune_cache(to)
    _report(freed.entries, freed.size, json_=json)


@app.command()
def clear(
    kind: Annotated[
        str | None, typer.Argument(help="scores, embeddings, moments, converted or digests. [default: all]")
    ] = None,
    json: Json = False,
) -> None:
    """Remove all that the cache holds, or one kind.

    It is computed again when it is needed.
    """
    from editkit.files.eviction import clear_cache

    freed = clear_cache(kind)
    _report(freed.entries, freed.size, json_=json)


def _report(entries: int, size: int, *, json_: bool) -> None:
    if json_:
        emit_json({"entries": entries, "bytes": size})
    else:
        write_line(f"Removed {entries:,} entr{'y' if entries == 1 else 'ies'}, {size_text(size)}.")


def _time(used: float | None) -> str | None:
    return None if used is None else datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds")
