"""The card in a folder of edited weights: which base, which patch, how to undo it. Reverting takes it out again.

It is a file of its own beside the base's README.md, which stays as it is. A second edit on top adds a second section,
so that the file lists the edits from the first to the last; each is removed by its own patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editkit.files.digests import digest_of
from editkit.patch.card import method_of
from editkit.patch.record_file import recipe_of

PROVENANCE = "EDITKIT.md"


def provenance(record: Mapping[str, Any], weights: int) -> str:
    """Return a patch's section of the card.

    Args:
        record: the patch's.
        weights: how many it changes.
    """
    model, towers, recipe = record.get("model") or {}, record.get("towers") or {}, recipe_of(record)
    commit = f" at commit `{model['commit']}`" if model.get("commit") else ""
    start, end = _marks(record)
    lines = [
        start,
        "",
        "# Weights edited with editkit",
        "",
        f"These are not the weights of the base: {weights:,} of them were changed, "
        f"in {len(record['base']['touched'])} tensors.",
        "",
        f"- base: `{model.get('source') or 'not recorded'}`{commit}",
        f"- patch: `{patch_digest(record)}` (sha256 of `base` in its record.json)",
        *[f"- {tower}: {method_of(recipe, tower)}" for tower in towers.get("edited", ()) if tower in recipe],
        *[f"- {tower}: not edited" for tower in towers.get("not_edited", ())],
        "- to get the base back, every byte of it: `editkit revert PATCH FOLDER -o RESTORED`",
        "",
        end,
        "",
    ]
    return "\n".join(lines)


def patch_digest(record: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a patch: of every touched tensor before and after, and of the rest of its base."""
    return digest_of(record["base"])


def add_provenance(folder: Path, record: Mapping[str, Any], weights: int) -> None:
    """Write a patch's section into a folder of edited weights, behind those of earlier edits."""
    with (folder / PROVENANCE).open("a", encoding="utf-8", errors="replace", newline="\n") as card:
        card.write(provenance(record, weights))


def remove_provenance(folder: Path, record: Mapping[str, Any]) -> None:
    """Take a patch's section out of a folder of reverted weights, and the card with its last section."""
    card = folder / PROVENANCE
    if not card.is_file():
        return
    content = card.read_bytes()
    start, end = (mark.encode() for mark in _marks(record))
    before, found, section = content.partition(start)
    _, ended, after = section.partition(end + b"\n")
    if not (found and ended):  # an edit from before there were cards
        return
    if before + after:
        card.write_bytes(before + after)
    else:
        card.unlink()


def _marks(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first line of a patch's section and its last."""
    digest = patch_digest(record)
    return f"<!-- editkit patch {digest} -->", f"<!-- end of editkit patch {digest} -->"
