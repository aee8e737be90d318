"""Safe and unsafe vectors as two classes of equal size, by their moments: what a linear classifier learns from.

m = (m_s + m_u) / 2    S = (Z_ss + Z_uu) / 2 - m m^T    d = m_u - m_s    cov(x, z) = d / 4, z = 0 if safe, 1 if unsafe

S is the total covariance, so d lies in its range: S - d d^T / 4, the covariance within the classes, has no negative
eigenvalue.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.components.statistics import Moments
from editkit.errors import SiteError
from editkit.methods.manipulators.pair_fit import second_moments

RANK = 1e-10
"""Eigenvalues below this share of the largest count as zero: float64 sums leave no more of them."""


@dataclass(frozen=True)
class TwoClasses:
    """Of inputs or outputs of D dimensions, float64."""

    mean: Tensor
    """[D] m."""
    covariance: Tensor
    """[D, D] S."""
    difference: Tensor
    """[D] d."""

    def through(self, map_: Tensor) -> TwoClasses:
        """Return the classes behind a linear map [E, D]."""
        return TwoClasses(map_ @ self.mean, map_ @ self.covariance @ map_.T, map_ @ self.difference)

    def least_squares(self) -> Tensor:
        """Return S^+ d, [D]: the direction of the least-squares classifier of least norm, which is Fisher's."""
        weights: Tensor = torch.linalg.pinv(self.covariance, rtol=RANK, hermitian=True) @ self.difference
        return weights


def two_classes(moments: Moments, name: str) -> TwoClasses:
    """Return the classes of a site's inputs.

    Args:
        name: the site's, for errors.

    Raises:
        SiteError: both have the same mean, so that no linear classifier tells them apart.
    """
    z_ss, z_uu, _ = second_moments(moments)
    mean, difference = (moments.safe + moments.unsafe) / 2, moments.unsafe - moments.safe
    if not bool(difference.any()):
        raise SiteError(
            f"Safe and unsafe means are equal at {name}, so no direction tells the two apart.",
            "Leave the site out of the targets, or check that safe and unsafe samples differ.",
        )
    return TwoClasses(mean, (z_ss + z_uu) / 2 - torch.outer(mean, mean), difference)
