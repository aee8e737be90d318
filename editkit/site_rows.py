"""The rows in which an edit's sites are shown: one a site, but one a tower for the tensors of a whole checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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
