"""A manipulator with small sites that it takes, as the clauses of the manipulators' contract look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from editkit.components.choice import Choice
from editkit.components.protocols import ManipulationContext, Manipulator
from editkit.components.site import Site
from editkit.components.specs import ManipulatorSpec
from editkit.components.statistics import Moments
from editkit.editing.moments import describe_embeddings, moments_of
from editkit.errors import SiteError
from editkit.testing.contract import build

OUTPUTS, INPUTS, SAMPLES = 6, 8, 24


@dataclass(frozen=True)
class Edit:
    """What a manipulator is given at one site, in one dtype."""

    site: Site
    weight: Tensor
    bias: Tensor | None
    mask: Tensor
    context: ManipulationContext

    @property
    def held(self) -> dict[str, Tensor]:
        """The site's own tensors, by the names under which new ones are returned."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is handed over, by what it is."""
        context = self.context
        described = {
            "moments": context.moments.get(self.site),
            "own_modality": context.own_modality,
            "other_modality": context.other_modality,
        }
        inside = {f"{part}.{name}": held for part, of in described.items() if of for name, held in vars(of).items()}
        scores = {f"other_scores.{label}": held[self.site] for label, held in context.other_scores.items()}
        weights = {f"other_weights of {site.name}": held for site, held in context.other_weights.items()}
        weights |= {
            f"other_checkpoints[{place}] of {site.name}": tensor
            for place, held in enumerate(context.other_checkpoints)
            for site, tensor in held.items()
        }
        everything = {**self.held, "mask": self.mask, **inside, **scores, **weights}
        return {name: held for name, held in everything.items() if isinstance(held, Tensor)}


@dataclass(frozen=True)
class Case:
    """A manipulator, and the labels of the scores that it asks for."""

    choice: Choice
    labels: tuple[str, ...]

    @property
    def spec(self) -> ManipulatorSpec:
        return cast(ManipulatorSpec, self.choice.spec)

    def edits(self, dtype: torch.dtype = torch.float32) -> Iterator[Edit]:
        """Yield an edit of every small site that the manipulator takes: with a bias or without, shared space or not."""
        for role, biased in product(dict.fromkeys((self.spec.role or "mlp.out", "proj")), (True, False)):
            bias = "layer.bias" if biased else None
            site = Site("text", 0, role, "layer", "layer.weight", (OUTPUTS, INPUTS), bias=bias)
            if self._takes(site):
                yield self._edit(site, dtype)

    def apply(self, edit: Edit) -> Mapping[str, Tensor]:
        """Return what a new manipulator makes of an edit."""
        manipulator: Manipulator = build(self.choice)
        with torch.no_grad():
            return manipulator.apply(edit.site, edit.weight, edit.bias, edit.mask, edit.context)

    def _takes(self, site: Site) -> bool:
        try:
            self.spec.check_site(site, self.choice.options)
        except SiteError:
            return False
        return True

    def _edit(self, site: Site, dtype: torch.dtype) -> Edit:
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(site.shape, generator=draw).to(dtype)
        weight[:, 1] = -0.0  # whose sign is lost by a sum that should leave it alone
        bias = None if site.bias is None else torch.randn(OUTPUTS, generator=draw).to(dtype)
        return Edit(site, weight, bias, self._mask(draw), self._context(site, weight, draw))

    def _mask(self, draw: torch.Generator) -> Tensor:
        """Return about half of the weights, half of the input columns, or all, as the spec says it acts on."""
        half = torch.rand(OUTPUTS, INPUTS, generator=draw) < 0.5
        columns = (torch.arange(INPUTS) % 2 == 0).expand(OUTPUTS, INPUTS).contiguous()
        return {"weights": half, "units": columns, "sites": torch.ones_like(half)}[self.spec.acts_on]

    def _context(self, site: Site, weight: Tensor, draw: torch.Generator) -> ManipulationContext:
        """Return exactly what the spec asks for at a site."""
        look = "embeddings" in self.spec.needs and site.role == "proj"
        own, other = (normalize(torch.randn(2, SAMPLES, OUTPUTS, generator=draw), dim=-1) for _ in range(2))
        elsewhere = self.choice.asks("other_checkpoint") is not None
        several = len(self.choice.asks("other_checkpoints"))
        return ManipulationContext(
            seed=0,
            moments=self._moments(site, weight, draw),
            own_modality=describe_embeddings(own) if look else None,
            other_modality=describe_embeddings(other) if look else None,
            other_scores={label: {site: torch.empty(site.shape).exponential_(generator=draw)} for label in self.labels},
            other_weights={site: torch.randn(site.shape, generator=draw).to(weight.dtype)} if elsewhere else {},
            other_checkpoints=[
                {site: torch.randn(site.shape, generator=draw).to(weight.dtype)} for _ in range(several)
            ],
        )

    def _moments(self, site: Site, weight: Tensor, draw: torch.Generator) -> dict[Site, Moments]:
        safe, unsafe = (torch.randn(SAMPLES, INPUTS, generator=draw) + shift for shift in (0.0, 0.5))
        safe[:, 0] /= 100  # an input that hardly anything but unsafe samples uses, as real sites have many
        whole = moments_of(weight, safe, unsafe)
        if "second-moments" in self.spec.needs:
            rows = torch.randn(SAMPLES, INPUTS, generator=draw).double() if "preserved" in self.spec.needs else None
            if rows is not None:
                rows[:, 0] /= 100
                whole = replace(whole, preserved=rows.T @ rows / SAMPLES)
            return {site: whole}
        return {site: Moments(whole.pairs, whole.safe, whole.unsafe)} if "mean-inputs" in self.spec.needs else {}
