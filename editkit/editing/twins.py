"""Other safe twins: each unsafe item is paired with the safe item of its modality that is most like it.

n(i) = argmax over j of cos(e(u_i), e(s_j)), by the embeddings of the unedited model; of equal ones the first.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from editkit.components.site import Tower
from editkit.data.tuples import TupleSet
from editkit.editing.run import Run

ROWS = 1024
"""Unsafe items whose similarities with all safe ones are held at once."""


def nearest_twins(run: Run, tower: Tower) -> TupleSet:
    """Return the calibration tuples as one tower sees them, the safe side of each that of the nearest safe item."""
    items, (safe, unsafe) = run.embedded(tower)
    places = nearest(safe, unsafe).tolist()
    paired = (
        replace(item, safe_text=items[place].safe_text, safe_image=items[place].safe_image)
        for item, place in zip(items, places, strict=True)
    )
    return replace(run.data, items=tuple(paired))


def nearest(safe: Tensor, unsafe: Tensor) -> Tensor:
    """Return for each row of `unsafe` [n, D] the place of the row of `safe` [m, D] with the largest product, [n]."""
    parts = (unsafe[start : start + ROWS] for start in range(0, len(unsafe), ROWS))
    return torch.cat([(rows @ safe.T).argmax(dim=1) for rows in parts])
