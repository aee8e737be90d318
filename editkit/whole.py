"""Every floating tensor of a checkpoint as a site: what the target `all` names."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from editkit.checkpoint import Checkpoint
from editkit.site import Site, Tower

FLOATING = ("F64", "F32", "F16", "BF16")


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint's floating tensors, empty ones left out."""
    tensors = checkpoint.tensors.items()
    return {key: info.shape for key, info in tensors if info.dtype in FLOATING and prod(info.shape) > 0}


def whole_tensors(checkpoint: Checkpoint, sites: Sequence[Site]) -> list[Site]:
    """Return one site for each floating tensor, seen as a matrix: its first axis by all others.

    A tensor belongs to the tower that has all the sites below the nearest module that has any; what belongs to both
    or to neither (CLIP's logit scale, CoCa's decoder) goes along with the first tower.
    """
    owners: dict[str, set[Tower]] = {}
    for site in sites:
        for module in _ancestors(site.key):
            owners.setdefault(module, set()).add(site.tower)
    found = []
    for key, shape in shapes_of(checkpoint).items():
        near = next((owners[module] for module in _ancestors(key) if module in owners), set())
        tower = next(iter(near)) if len(near) == 1 else sites[0].tower
        rows = shape[0] if len(shape) > 1 else 1
        found.append(Site(tower, 0, "tensor", "", key, (rows, prod(shape) // rows)))
    return sorted(found, key=lambda site: (site.tower, site.key))


def _ancestors(key: str) -> list[str]:
    """Return a tensor's modules, the innermost first: `a.b.w` gives `a.b`, `a`, and "" for the model."""
    parts = key.split(".")[:-1]
    return [".".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
