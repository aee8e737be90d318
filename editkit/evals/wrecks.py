"""Wrecks: the model destroyed on purpose, and measured. What they reach says nothing for an edit that reaches as much.

    redrawn     W -> N(mean(W), var(W)) at every site that a patch edits
    untrained   the same for every matrix of the model

Each matrix has its own mean and spread, and each seed other numbers. Vectors (biases, gains) stay. Noise on embeddings
that know nothing has an expectation, which the chance rows give; a ruined network of this very model can exceed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import Site, towers_of
from editkit.files.bits import DTYPES, to_bits, to_tensor
from editkit.files.checkpoint import Checkpoint
from editkit.models.site_tensors import weight_of
from editkit.models.variants import Variant
from editkit.patch.change import Change
from editkit.patch.patch import Patch

SEEDS = (0, 1, 2)


def wreck_variants(patches: Sequence[tuple[str, Patch]], adapter: Adapter, files: ModelFiles) -> list[Variant]:
    """Return the wrecks of each patch's sites, and those of the whole model.

    Args:
        patches: each with the name of its variant.
    """
    sites = adapter.sites(files)
    keys = {key for tower in towers_of(sites) for key in adapter.tensors(files, tower).values()}
    made = [
        (f"redrawn {seed} ({name})", redrawn(patch, sites, files.checkpoint, seed))
        for name, patch in patches
        for seed in SEEDS
    ]
    made += [(f"untrained {seed}", untrained(sorted(keys), files.checkpoint, seed)) for seed in SEEDS]
    return [Variant(name, {change.key: change for change in changes}, is_wreck=True) for name, changes in made]


def redrawn(patch: Patch, sites: Sequence[Site], checkpoint: Checkpoint, seed: int) -> list[Change]:
    """Return new weights for the sites that a patch edits; for a whole tensor, where it edits what is no site."""
    edited = {site["site"] for site in patch.record.get("sites", ())}
    changes = []
    for key in patch.changes:
        own = [site for site in sites if site.key == key and (not edited or site.name in edited)]
        changes += _drawn(checkpoint, key, own, seed)
    return changes


def untrained(keys: Iterable[str], checkpoint: Checkpoint, seed: int) -> list[Change]:
    """Return new weights for all matrices among some tensors."""
    return [change for key in keys for change in _drawn(checkpoint, key, (), seed)]


def _drawn(checkpoint: Checkpoint, key: str, sites: Sequence[Site], seed: int) -> list[Change]:
    dtype = checkpoint.info(key).dtype
    if dtype not in DTYPES or len(checkpoint.info(key).shape) < 2:
        return []
    before = checkpoint.read(key)
    tensor = to_tensor(before, dtype, key).view(before.shape).clone()
    draw = np.random.default_rng([seed, *key.encode()])  # one for all: the sites of a tensor have other numbers too
    for part in [weight_of(tensor, site) for site in sites] or [tensor]:
        part.copy_(_noise_like(part, draw))
    change = Change.between(key, dtype, before, to_bits(tensor))
    return [] if change is None else [change]


def _noise_like(part: Tensor, draw: np.random.Generator) -> Tensor:
    noise = torch.from_numpy(draw.standard_normal(tuple(part.shape), dtype=np.float32))
    return noise * part.float().std(correction=0) + part.float().mean()
