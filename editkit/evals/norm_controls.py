"""Controls matched by the norm of a patch's change, tensor by tensor; everything is float64 and rounded once.

    shuffled   W + Delta P                       P a permutation of the inputs, drawn anew for each tensor and seed
    shrink     (1 - |Delta| / |W|) W
    rescaled   (1 - |Delta| / |W_S|) W_S         on a set S of a site's weights, W elsewhere

`shuffled` keeps the change's norm, its singular values and the outputs it writes to, and takes other inputs for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from editkit.components.site import Site
from editkit.files.bits import DTYPES, to_bits, to_tensor
from editkit.files.checkpoint import Bits, Checkpoint
from editkit.models.site_tensors import weight_of
from editkit.patch.change import Change


def whole_controls(
    changes: Iterable[Change], checkpoint: Checkpoint, *, seeds: Sequence[int], transposed: Collection[str]
) -> list[tuple[str, dict[str, Change]]]:
    """Return `shuffled` with each seed and `shrink`, each with its changes by tensor.

    A tensor that does not hold plain floats stays as the base has it. `shrink` is empty where a matrix changed by its
    own norm or more: shrinking ends at 0, and a matrix turned around is no smaller one. A vector may turn around.

    Args:
        changes: a patch's.
        checkpoint: the base that they were made from.
        transposed: keys of tensors stored [I, O]; all others are [O, I], or vectors, whose entries are shuffled.
    """
    made: dict[str, dict[str, Change]] = {label: {} for label in (*(f"shuffled {seed}" for seed in seeds), "shrink")}
    shrinkable = True

    def keep(label: str, change: Change, before: Bits, after: Tensor) -> None:
        altered = Change.between(change.key, change.dtype, before, to_bits(after))
        if altered is not None:
            made[label][change.key] = altered

    for change in changes:
        if change.dtype not in DTYPES:
            continue
        before = checkpoint.read(change.key)  # once: dense changes share it
        weight, delta = _values(change, before)
        for seed in seeds:
            moved = shuffled(delta, seed=seed, key=change.key, transposed=change.key in transposed)
            keep(f"shuffled {seed}", change, before, plus(weight, moved))
        norm = float(delta.norm())
        shrinkable &= weight.dim() < 2 or norm < float(weight.double().norm())
        if shrinkable:
            keep("shrink", change, before, rescaled(weight, norm=norm))
    return [(label, found if label != "shrink" or shrinkable else {}) for label, found in made.items()]


def rescaled_sites(
    changes: Mapping[str, Change], checkpoint: Checkpoint, masks: Mapping[Site, Tensor]
) -> dict[str, Change]:
    """Scale each site's weights in its mask [O, I] so that its change has the norm that it has in `changes`."""
    made = {}
    for key in {site.key: None for site in masks if site.key in changes}:
        before = checkpoint.read(key)
        weight, delta = _values(changes[key], before)
        after = weight.clone()
        for site in (site for site in masks if site.key == key):
            norm = float(weight_of(delta, site).norm())
            weight_of(after, site).copy_(rescaled(weight_of(weight, site), norm=norm, mask=masks[site]))
        altered = Change.between(key, changes[key].dtype, before, to_bits(after))
        if altered is not None:
            made[key] = altered
    return made


def shuffled(delta: Tensor, *, seed: int, key: str, transposed: bool = False) -> Tensor:
    """Permute the input columns of a change, the same permutation for the same seed, key and number of inputs.

    Args:
        delta: [O, I], [I, O] if `transposed`, [O, ...] of a convolution, or a vector, whose entries are permuted.
    """
    if transposed:
        return shuffled(delta.T, seed=seed, key=key).T
    columns = delta.reshape(len(delta) if delta.dim() > 1 else 1, -1)
    order = np.random.default_rng([seed, *key.encode()]).permutation(columns.shape[1])
    return columns[:, torch.from_numpy(order)].view(delta.shape)


def rescaled(weight: Tensor, *, norm: float, mask: Tensor | None = None) -> Tensor:
    """Return the weight, scaled towards 0 where `mask` is set so that it changes by `norm`, in its own dtype.

    The factor is negative where the norm exceeds that of the weights in the mask; if these are all 0, nothing changes.

    Args:
        weight: of any shape.
        mask: bool, in that shape; None: all of it.
    """
    chosen = weight.double() if mask is None else weight.double() * mask
    whole = float(chosen.norm())
    return plus(weight, chosen * (-norm / whole)) if whole else weight.clone()


def plus(weight: Tensor, delta: Tensor) -> Tensor:
    """Return weight + delta in the weight's dtype; where delta is 0, its bits stay (the sign of a zero among them)."""
    return torch.where(delta == 0, weight, (weight.double() + delta).to(weight.dtype))


def _values(change: Change, before: Bits) -> tuple[Tensor, Tensor]:
    """The base's tensor in its dtype, and the change in float64."""
    weight, after = (
        to_tensor(bits, change.dtype, change.key).view(before.shape) for bits in (before, change.made(before))
    )
    return weight, after.double() - weight.double()
