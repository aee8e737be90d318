"""A small patch, and what every refusal must look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import digests, listing

from editkit.errors import EditkitError
from editkit.files.checkpoint import Checkpoint
from editkit.patch.change import Change
from editkit.patch.patch import Patch

SIGN = {"F32": 1 << 31, "F16": 1 << 15, "BF16": 1 << 15}


def negated(model: Path, *, sparse: tuple[str, ...] = ("a.weight",), dense: tuple[str, ...] = ("b.weight",)) -> Patch:
    """A patch that flips signs: of every ninth element of the sparse tensors, of every one of the dense ones."""
    checkpoint = Checkpoint.open(model)
    changes = {}
    for key in (*sparse, *dense):
        before = checkpoint.read(key)
        after = before.copy()
        after.reshape(-1)[:: 9 if key in sparse else 1] ^= SIGN[checkpoint.tensors[key].dtype]
        change = Change.between(key, checkpoint.tensors[key].dtype, before, after)
        assert change is not None
        changes[key] = change
    return Patch.create(checkpoint, changes, {"recipe": {"scorer": {"name": "uwm"}}})


def refused(patch: Patch, model: Path, match: str, *, revert: bool = False, **options: Any) -> EditkitError:
    """Apply, and check that it was refused in two lines, and that nothing was written or left behind."""
    around, inside = listing(model.parent), digests(model.parent)
    act = patch.revert if revert else patch.apply
    with pytest.raises(EditkitError, match=match) as caught:
        act(model, model.parent / "deep" / "output", **options)
    assert listing(model.parent) == around
    assert digests(model.parent) == inside
    assert "\n" not in caught.value.problem and "\n" not in caught.value.remedy
    return caught.value
