"""Edited models that exist in memory only: a base model with patches laid over it, one at a time.

Several variants share one loaded model and one decoding of the images: before each forward pass the changed
elements are swapped in, and put back after it, which costs next to nothing beside the pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editkit.components.protocols import Model
from editkit.components.site import Tower
from editkit.files.bits import to_tensor
from editkit.patch.patch import Change


@dataclass(frozen=True)
class Variant:
    """A named edit of the base model; the base itself has no changes.

    `patch` is the folder it came from; for a control, that of the patch it is matched to. `overlap` is the share of a
    control's weights that the patch changes too. `tower` is set where this is the part of an edit, or of a control,
    that lies in one tower; `is_wreck` where the model was destroyed on purpose.
    """

    name: str
    changes: Mapping[str, Change]
    patch: str | None = None
    is_control: bool = False
    overlap: float | None = None
    tower: Tower | None = None
    is_wreck: bool = False
    label: str = ""
    """What its row is called; empty: its name, which is its alone."""

    @property
    def is_shown(self) -> bool:
        """Whether it stands in the tables: the base, an edit or a control, whole."""
        return self.tower is None and not self.is_wreck

    def digest(self, keys: Sequence[str]) -> str:
        """Return a sha256 of the changes to the tensors `keys`, empty where there are none."""
        digest = hashlib.sha256()
        for key in sorted(set(keys) & set(self.changes)):
            change = self.changes[key]
            digest.update(f"{key} {change.dtype} {change.shape} ".encode())
            for part in (change.index, change.after):
                digest.update(b"dense" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest() if set(keys) & set(self.changes) else ""


@contextmanager
def applied(model: Model, variant: Variant, keys: Sequence[str]) -> Iterator[None]:
    """Lay the variant's changes to tensors `keys` over the live model; the exact old values are restored afterwards."""
    undo: list[tuple[Tensor, Tensor | slice, Tensor]] = []
    try:
        with torch.no_grad():
            for key in set(keys) & set(variant.changes):
                change = variant.changes[key]
                live = model.parameter(key).detach().view(-1)
                where: Tensor | slice = slice(None)
                if change.index is not None:
                    where = torch.from_numpy(change.index.astype(np.int64)).to(live.device)
                after = to_tensor(change.after.reshape(-1), change.dtype, key)
                undo.append((live, where, live[where].clone()))
                live[where] = after.to(live)
        yield
    finally:
        with torch.no_grad():
            for live, where, before in reversed(undo):
                live[where] = before
