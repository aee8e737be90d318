"""Tiny models on disk as an evaluation opens them, and patches of them as the engine would have written them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import Site, match_targets
from editkit.evals.controls import control_variants
from editkit.files.bits import to_bits, to_tensor
from editkit.models.find import find_adapter
from editkit.models.site_tensors import weight_of
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.recipes.recipe import resolve

Masks = Callable[[Site], Tensor]
Edit = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Opened:
    """A model on disk, as an evaluation has it before it reads a weight."""

    adapter: Adapter
    files: ModelFiles

    @classmethod
    def at(cls, source: str) -> Opened:
        spec = find_adapter(source, default_host())
        adapter = spec.load()()
        return cls(adapter, adapter.open(source))

    def sites(self, *targets: str) -> list[Site]:
        return match_targets(targets, self.adapter.sites(self.files))

    def weights(self, key: str, change: Change | None = None) -> Tensor:
        """A tensor of the base, or with a change made, in its dtype and shape."""
        before = self.files.checkpoint.read(key)
        bits = before if change is None else change.made(before)
        return to_tensor(bits, self.files.checkpoint.info(key).dtype, key).view(before.shape)

    def moved(self, site: Site, change: Change) -> Tensor:
        """What a change does to a site's weight, [O, I] float64."""
        return weight_of(self.weights(site.key, change).double() - self.weights(site.key).double(), site)

    def controls(self, patch: Patch) -> dict[str, Mapping[str, Change]]:
        variants = control_variants(patch, "p", self.adapter, self.files, default_host())
        assert all(variant.is_control and variant.patch == "p" for variant in variants)
        return {variant.name: variant.changes for variant in variants}


def spread(site: Site) -> Tensor:
    """A tenth of a site's weights, anywhere."""
    return torch.rand(site.shape, generator=torch.Generator().manual_seed(len(site.name))) < 0.1


def some_columns(site: Site) -> Tensor:
    """As many whole columns as `units` takes of a tenth."""
    count = site.shape[1] - int(0.9 * site.shape[1])
    mask = torch.zeros(site.shape, dtype=torch.bool)
    mask[:, 1 : 1 + count] = True
    return mask


def everything(site: Site) -> Tensor:
    return torch.ones(site.shape, dtype=torch.bool)


def negated(weight: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, -weight, weight)


def pushed(weight: Tensor, mask: Tensor) -> Tensor:
    """A change of rank one, a third of the weight's norm."""
    draw = torch.Generator().manual_seed(5)
    direction = torch.randn(weight.shape[0], 1, generator=draw) @ torch.randn(1, weight.shape[1], generator=draw)
    change = direction * (weight.double().norm() / 3 / direction.norm())
    return torch.where(mask, weight.double() + change, weight.double()).to(weight.dtype)


def edited(opened: Opened, sites: Sequence[Site], mask: Masks, edit: Edit, **towers: Mapping[str, Any]) -> Patch:
    """A patch as the engine would write it, with the recipe `towers["text"]`, `towers["vision"]`."""
    checkpoint = opened.files.checkpoint
    after: dict[str, Tensor] = {}
    for site in sites:
        held = after.setdefault(site.key, opened.weights(site.key).clone())
        weight = weight_of(held, site)
        weight.copy_(edit(weight.clone(), mask(site)))
    found = (
        Change.between(key, checkpoint.info(key).dtype, checkpoint.read(key), to_bits(tensor))
        for key, tensor in after.items()
    )
    layer = {f"{tower}.{path}": value for tower, settings in towers.items() for path, value in settings.items()}
    record = {
        "recipe": resolve([("test", layer)], default_host()).describe(),
        "sites": [
            {"site": site.name, "tower": site.tower, "key": site.key, "count": int(mask(site).sum())} for site in sites
        ],
    }
    return Patch.create(checkpoint, [change for change in found if change is not None], record)
