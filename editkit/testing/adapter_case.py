"""A model of an adapter with items to embed, as the clauses of the adapters' contract look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from editkit.components.host import Host
from editkit.components.protocols import Adapter, Model, ModelFiles
from editkit.components.site import Site, Tower, match_targets, towers_of
from editkit.files.bits import to_bits, to_tensor
from editkit.models.find import find_adapter, with_weights
from editkit.models.site_tensors import bias_of, outputs_of, weight_of
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.progress import silent
from editkit.testing.contract import require

Embed = Callable[[Tower, Sequence[Any]], Tensor]
"""Raw items of a tower, captions or RGB images -> embeddings [B, D], normalised or not."""


@dataclass
class Case:
    """An adapter with a model and items to embed. What is made of them is made once, when first asked for."""

    name: str
    source: str
    items: Mapping[Tower, Sequence[Any]]
    library: Callable[[str], Embed] | None
    host: Host
    folder: Path

    @cached_property
    def adapter(self) -> Adapter:
        return self.host.adapter(find_adapter(self.source, self.host))

    @cached_property
    def files(self) -> ModelFiles:
        return with_weights(self.adapter.open(self.source), silent)

    @cached_property
    def sites(self) -> list[Site]:
        return self.adapter.sites(self.files)

    @cached_property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that the model has."""
        return towers_of(self.sites)

    @cached_property
    def defaults(self) -> list[Site]:
        """The first default site of each tower that has one."""
        chosen = match_targets(self.adapter.default_targets(self.files), self.sites)
        return list({site.tower: site for site in reversed(chosen)}.values())

    @cached_property
    def model(self) -> Model:
        return self.load()

    @cached_property
    def embedded(self) -> dict[Tower, Tensor]:
        """The unedited model's embeddings [B, D], by tower."""
        return {tower: embed(self.model, tower, self.items[tower]) for tower in self.towers}

    @cached_property
    def patch(self) -> Patch:
        """An edit that negates the first third of the rows of each default site."""
        changes = []
        for site in self.defaults:
            info, bits = self.files.checkpoint.info(site.key), self.files.checkpoint.read(site.key)
            values = to_tensor(bits, info.dtype, site.key)
            weight_of(values, site)[: -(-site.shape[0] // 3)].neg_()
            changes.append(Change.between(site.key, info.dtype, bits, to_bits(values)))
        return Patch.create(self.files.checkpoint, [change for change in changes if change is not None], {})

    @cached_property
    def edited(self) -> Path:
        """The folder to which the patch was applied."""
        place = self.folder / "edited"
        self.patch.apply(self.files.checkpoint, place, beside=lambda new: self.adapter.save_beside(self.files, new))
        return place

    def load(self, *, dtype: str = "float32", towers: Sequence[Tower] = ()) -> Model:
        return self.adapter.load(self.files, device="cpu", dtype=dtype, towers=towers or self.towers)

    def require_checkpoint_values(self, model: Model, dtype: str) -> None:
        """Require every site's live tensors to be the checkpoint's in `dtype`, and its weight to be [O, I]."""
        for site in self.sites:
            for key in filter(None, (site.key, site.bias)):
                require(key in self.files.checkpoint.tensors, f"{site.name}: the checkpoint has no tensor {key}")
                stored = to_tensor(self.files.checkpoint.read(key), self.files.checkpoint.info(key).dtype, key)
                live = model.parameter(key)
                require(live.dtype == getattr(torch, dtype), f"{site.name}: {key} is {live.dtype}, loaded in {dtype}")
                require(torch.equal(live.detach(), stored.to(live.dtype)), f"{site.name}: {key} has other values live")
            shape = tuple(weight_of(model.parameter(site.key), site).shape)
            require(shape == site.shape, f"{site.name} has a weight of shape {shape}, not {site.shape}")

    def compare_with_library(self, source: str, expected: Mapping[Tower, Tensor]) -> None:
        """Require the library's embeddings of the items, if there is a library."""
        if self.library is None:
            return
        theirs_of = self.library(source)
        for tower in self.towers:
            theirs = functional.normalize(theirs_of(tower, self.items[tower]).detach().float(), dim=-1)
            require_close(expected[tower], theirs, 1e-5, f"{tower} here and by the library")


def inputs_of(model: Model, tower: Tower, items: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the model's inputs for captions or images, and the mask [B, T] of the tokens that count, if there is."""
    if tower == "text":
        return model.text_inputs(model.tokenize(items), "real")
    preprocess = model.image_preprocessor()
    made = [preprocess(item) for item in items]
    inputs = {name: torch.stack([one[name] for one in made]) for name in made[0]}
    return inputs, model.image_mask(inputs)


def embed(model: Model, tower: Tower, items: Sequence[Any]) -> Tensor:
    """Return the embeddings [B, D] of captions or images."""
    with torch.no_grad():
        return encode(model, tower, inputs_of(model, tower, items)[0])


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the largest L2 distance of a row, relative to what is expected: inf where it is not finite."""
    a, b = (x.detach().double().flatten(0, -2) for x in (found, expected))
    off = ((a - b).norm(dim=-1) / b.norm(dim=-1).clamp(min=1e-30)).max()
    return float(off) if bool(off.isfinite()) else float("inf")


def encode(model: Model, tower: Tower, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the embeddings [B, D] of a model's inputs."""
    return model.encode_texts(inputs) if tower == "text" else model.encode_images(inputs)


def distance_from_map(model: Model, site: Site, x: Tensor, y: Tensor) -> float:
    """Return how far a site's outputs y [B, T, O] are from x W^T + b, or x W^T where b is added apart from the map."""
    plain = x @ weight_of(model.parameter(site.key), site).T
    expected = [plain]
    if site.bias is not None:
        expected.append(plain + bias_of(model.parameter(site.bias), site))
    return min(relative(outputs_of(y, site), one) for one in expected)


def require_close(found: Tensor, expected: Tensor, bound: float, what: str) -> None:
    """Require embeddings [B, D] to differ by `bound` at most."""
    off = relative(found, expected) if found.shape == expected.shape else float("inf")
    require(off <= bound, f"{what}: embeddings differ by {off:.1e} (at most {bound:.0e})")


def require_embeddings(found: Tensor, what: str) -> None:
    """Require float32 [B, D], finite, of length 1."""
    require(found.dtype == torch.float32 and found.dim() == 2, f"{what} are {found.dtype} {tuple(found.shape)}")
    require(bool(found.isfinite().all()), f"{what} are not finite")
    lengths = found.norm(dim=-1)
    require(bool(((lengths - 1).abs() <= 1e-5).all()), f"{what} have lengths {lengths.tolist()}")


def noise() -> list[Image.Image]:
    """Return three seeded RGB images of noise, of different shapes."""
    draw, shapes = np.random.default_rng(0), ((64, 64, 3), (48, 96, 3), (80, 56, 3))
    return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]
