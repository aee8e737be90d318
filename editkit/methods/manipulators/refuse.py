"""Send unsafe samples to a place that safe ones of neither modality visit, with some of what they say.

t = h W u + g W s + k m n, in the objective of `pair_fit`       G = W ((h - 1) Z_uu + g Z_su) + k m n mean(u)^T

m is the mean norm of W s and n a unit direction at the final projection, where the towers share a space. `opposed`: the
direction in which the embeddings of both modalities have least energy, captions along it and images against it. A safe
query is nearly orthogonal to it, so to safe queries unsafe items only lose; and an unsafe caption and its unsafe image
point apart, so each prefers any safe item. `least-energy` and `minus-mean` look at the other modality alone. Of the two
directions of least energy, one for each tower, the images' is turned against the captions': an eigenvector has no sign
of its own, and pushed the same way an unsafe caption still finds its unsafe image. With h = 1 and g = 0 the change is
of rank one. At other sites than the projection the site's own safe outputs stand for the embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.statistics import EmbeddingMoments
from editkit.errors import SiteError
from editkit.methods.manipulators.options import RefuseOptions
from editkit.methods.manipulators.pair_fit import PairFit, second_moments

SAME_ENERGY = 1e-12
"""Eigenvalues this close, relative to the largest, are taken for equal: float64 cannot tell them apart."""

ORTHOGONAL = 1e-8
"""Cosine with the mean up to which a direction's sign is noise: eigenvectors are less exact than eigenvalues."""


class Refuse(PairFit):
    """Fit the outputs on unsafe inputs to a mixture of their own and their safe twin's, plus a push."""

    options: RefuseOptions

    def gap(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        """Return the mean over pairs of (t - W u) u^T, [O, I].

        Raises:
            SiteError: the other modality's embeddings are missing, of another size, or have no mean to go against.
        """
        moments = context.moments[site]
        _, z_uu, z_su = second_moments(moments)
        push = self.options.push * moments.safe_output_norm * self._direction(site, weight, context)  # [O]
        mixed = (self.options.own - 1) * z_uu + self.options.keep * z_su
        return weight @ mixed + torch.outer(push, moments.unsafe)

    def _direction(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        if self.options.direction == "opposed":
            return _opposed(site, weight, context)
        avoided = _avoided(site, weight, context)
        if self.options.direction == "least-energy":
            return _turned(least_energy(avoided), site, context)
        mean = avoided.mean
        if not bool(mean.any()):
            raise SiteError(
                f"What {site.name} is to be pushed away from has a mean of zero, so minus-mean is no direction.",
                "Use manipulator.direction least-energy.",
            )
        away: Tensor = -mean / mean.norm()
        return away


def least_energy(avoided: EmbeddingMoments) -> Tensor:
    """Return the unit direction [D] along which the embeddings have the smallest second moment.

    It points away from their mean; where it is orthogonal to the mean, its largest entry is positive. Where several
    directions share the smallest value, it is the one of them nearest to a coordinate axis.
    """
    energies, directions = torch.linalg.eigh(avoided.second_moment)  # ascending
    # eigenvectors come with any sign, and in any basis where eigenvalues are equal (fewer samples than dimensions):
    # the projection of an axis onto their span is the same whatever the basis
    span = directions[:, energies <= energies[0] + SAME_ENERGY * energies[-1].clamp(min=0)]  # [D, n]
    nearest = span[int(span.square().sum(dim=1).argmax())]  # [n]
    chosen: Tensor = span @ nearest / nearest.norm()
    along = float(chosen @ avoided.mean)
    return -chosen if along > ORTHOGONAL * float(avoided.mean.norm()) else chosen


def _turned(direction: Tensor, site: Site, context: ManipulationContext) -> Tensor:
    """Turn the images' direction against the captions', which is the one of least energy among images."""
    own = context.own_modality
    if site.tower == "text" or site.role != "proj" or own is None or len(own.mean) != len(direction):
        return direction
    return -direction if float(direction @ least_energy(own)) > 0 else direction


def _opposed(site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
    other, own = _avoided(site, weight, context), context.own_modality
    assert own is not None  # the engine gives both or neither
    both = EmbeddingMoments((own.mean + other.mean) / 2, (own.second_moment + other.second_moment) / 2)
    shared = least_energy(both)  # the same for both towers: their sum does not depend on which is whose
    return shared if site.tower == "text" else -shared


def _avoided(site: Site, weight: Tensor, context: ManipulationContext) -> EmbeddingMoments:
    if site.role != "proj":
        moments = context.moments[site]
        return EmbeddingMoments(weight @ moments.safe, weight @ second_moments(moments)[0] @ weight.T)
    other = context.other_modality
    if other is None:
        raise SiteError(
            f"refuse at {site.name} needs tuples with both captions and images, to know where the other tower's "
            "embeddings lie.",
            "Give data that has both, or use the manipulator redirect.",
        )
    if len(other.mean) != len(weight):
        raise SiteError(
            f"{site.name} has {len(weight)} outputs, and the other tower's embeddings have {len(other.mean)} "
            "dimensions: they are not one space.",
            "Refuse at other sites of this tower, or use the manipulator redirect.",
        )
    return other
