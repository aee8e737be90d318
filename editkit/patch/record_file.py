"""A patch's folder without its tensors: file names, and `record.json` read and checked. No numpy: `show` uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

from editkit.errors import PatchError
from editkit.files.paths import start_of

FORMAT = "editkit.patch/1"
TENSORS, RECORD, CARD = "patch.safetensors", "record.json", "README.md"
_DAMAGED = "Copy the patch folder again; a patch cannot be edited by hand."


def file_facts(path: Path) -> dict[str, Any]:
    """Return {"sha256", "bytes"} of a file."""
    with path.open("rb") as stream:
        return {"sha256": file_digest(stream, "sha256").hexdigest(), "bytes": path.stat().st_size}


def damaged(folder: Path, why: str) -> PatchError:
    """The error for a patch whose files are not what its record says."""
    return PatchError(f"The patch {folder} is damaged: {why}.", _DAMAGED)


def read_record(folder: Path) -> dict[str, Any]:
    """Read a patch's record and check that its files are those the record was written for.

    Raises:
        PatchError: no patch there, another format, a damaged record, or a patch.safetensors with another sha256.
    """
    for name in (RECORD, TENSORS):
        if not (folder / name).is_file():
            why = f"{name} is missing" if folder.is_dir() else f"there is no such folder{start_of(folder)}"
            raise PatchError(
                f"{folder} is not a patch: {why}.", "Give a folder that `editkit edit` wrote; it holds record.json."
            )
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        form, touched = record["format"], record["base"]["touched"]
        expected = record["files"][TENSORS]["sha256"]
        complete = isinstance(record["base"]["rest"], str) and all(
            {"dtype", "shape", "before", "after"} <= set(entry) for entry in touched.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, f"{RECORD} cannot be read ({type(error).__name__}: {error})") from error
    if form != FORMAT:
        raise PatchError(f"{folder} has the format {form}; this editkit reads {FORMAT}.", "Install a newer editkit.")
    if not complete:
        raise damaged(folder, f"{RECORD} lacks a part of its base")
    if file_facts(folder / TENSORS)["sha256"] != expected:
        raise damaged(folder, f"{TENSORS} is not the file its record was written for")
    return record


def recipe_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe in a record; one that another tool wrote may have its members at the top."""
    return part_of(record, "recipe") or record


def part_of(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is a mapping; an empty one where it is missing or anything else."""
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}
