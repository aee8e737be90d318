"""The model card of a patch: what was suppressed, what it may cost, how to undo it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def method_of(recipe: Mapping[str, Any], tower: str) -> str:
    """Return one tower's method on one line: `uwm (prior text, ...) x adaptive (tau 0.02) x scale (alpha -1.0)`."""
    return " x ".join(_component(recipe[tower][kind]) for kind in ("scorer", "selector", "manipulator"))


def _component(choice: Mapping[str, Any] | None) -> str:
    if choice is None:
        return "no scorer"
    given = [f"{name} {value}" for name, value in choice.items() if name != "name" and value is not None]
    return str(choice["name"]) + (f" ({', '.join(given)})" if given else "")


def write_card(record: Mapping[str, Any], name: str) -> str:
    """Return the Markdown that is saved as the patch's README.md."""
    sites, data = record["sites"], record.get("data")
    total = sum(site["count"] for site in sites)
    of = sum(site["shape"][0] * site["shape"][1] for site in sites)
    lines = [
        "---",
        "library_name: editkit",
        f"base_model: {record['model']['source']}",
        "tags: [editkit, model-editing, safety]",
        "---",
        "",
        f"# {name}: an edit of {record['model']['source']}",
        "",
        "## What it does",
        "",
        f"It changes {total:,} of {of:,} weights ({total / of:.2%}) at {len(sites)} sites.",
        "",
        *[f"- {tower}: {method_of(record['recipe'], tower)}" for tower in record["towers"]["edited"]],
        *[f"- {tower}: not edited" for tower in record["towers"]["not_edited"]],
        "",
    ]
    if data:
        lines += [
            f"The weights were chosen by {data['n']} tuples of `{data['name']}` (split {data['split']}, "
            f"fingerprint `{data['fingerprint'][:12]}`).",
            "",
        ]
    if preserved := record.get("preserved"):
        lines += [
            f"The fit was to leave {preserved['texts']:,} texts and {preserved['images']:,} images as they are "
            f"(`{', '.join(record['recipe']['preserve'])}`, fingerprint `{preserved['fingerprint'][:12]}`).",
            "",
        ]
    lines += [
        "## What it costs",
        "",
        "An edit is only as good as its measurement, and a rise in safety can be mere destruction. Measure this one",
        "beside the unedited model, chance, and matched controls:",
        "",
        "    editkit eval safeground --patch .",
        "",
        "## Apply and undo",
        "",
        "    editkit apply . MODEL -o EDITED",
        "    editkit revert . EDITED -o RESTORED",
        "",
        "The patch fits exactly one checkpoint and is refused by any other. Reverting restores every byte.",
        "",
        "| site | weights | share |",
        "|---|---|---|",
        *[f"| {row['site']} | {row['count']:,} | {row['share']:.2%} |" for row in rows_of(sites)],
        "",
    ]
    return "\n".join(lines)


def rows_of(sites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a record's sites as rows with `site`, `count`, `size`, `share` and whatever else one site has.

    A hundred tensors of a whole checkpoint (target `all`) say less each than their sum does.
    """
    rows = [_row(site) for site in sites if site.get("role") != "tensor"]
    for tower in dict.fromkeys(site["tower"] for site in sites if site.get("role") == "tensor"):
        tensors = [site for site in sites if site.get("role") == "tensor" and site["tower"] == tower]
        count, size = (sum(_row(tensor)[name] for tensor in tensors) for name in ("count", "size"))
        rows.append({"site": f"{tower}: {len(tensors)} tensors", "count": count, "size": size, "share": count / size})
    return rows


def _row(site: Mapping[str, Any]) -> dict[str, Any]:
    shape = site.get("shape")
    size = shape[0] * shape[1] if isinstance(shape, Sequence) and len(shape) == 2 else 0
    return {**site, "size": size}
