"""The closed form behind `redirect` and `refuse`: where unsafe inputs should land, in one weighted ridge regression.

minimise over W'   mean ||W'u - t(s)||^2 + b mean ||W's - W s||^2 + p mean ||W'x - W x||^2 + c ||W' - W||^2
W' = W + G A^-1    G = mean of (t(s) - W u) u^T    A = Z_uu + b Z_ss + p Z_pp + c    Z_xy = mean of x y^T

Means are over pairs, with s and u the safe and the unsafe input [I] of a pair, and over preserved items, with x the
input of one (Z_pp); where there are none, p is 0. c = l trace(Z_uu + b Z_ss + p Z_pp) / I. Where W' may differ from W
only on the span of orthonormal columns Q, W' = W + G Q (Q^T A Q)^-1 Q^T: these are the `null_space` of what safe inputs
and preserved items use, of Z_ss + Z_pp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.components.statistics import Moments
from editkit.errors import SiteError
from editkit.methods.manipulators.options import PairFitOptions


class PairFit:
    """A manipulator that fits a whole site to pairs: a subclass gives the `gap` to its target. Biases stay."""

    def __init__(self, options: PairFitOptions) -> None:
        self.options = options

    def gap(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        """Return G, [O, I] float64, of the site's weight [O, I] float64."""
        raise NotImplementedError

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], solved in float64 and rounded once to its own dtype.

        Raises:
            SiteError: the pairs leave nothing to fit; see `fit`.
        """
        wide = weight.double()
        options = self.options
        fitted = fit(
            wide,
            self.gap(site, wide, context),
            context.moments[site],
            preserve=options.preserve,
            preserve_weight=options.preserve_weight,
            ridge=options.ridge or default_ridge(weight.shape[1], context.moments[site].pairs),
            null_space=options.null_space,
            name=site.name,
        )
        return {"weight": fitted.to(weight.dtype)}


def fit(
    weight: Tensor,
    gap: Tensor,
    moments: Moments,
    *,
    preserve: float,
    ridge: float,
    null_space: float | None,
    name: str,
    preserve_weight: float = 1.0,
) -> Tensor:
    """Return the W' that minimises the objective above, [O, I] float64; exactly `weight` where `gap` is zero.

    Args:
        weight: W, [O, I] float64.
        gap: G, [O, I] float64: the mean over pairs of (t(s) - W u) u^T.
        moments: second moments of the pairs' inputs, and of preserved items' where there are some.
        preserve: b, from 0.
        ridge: l, above 0.
        null_space: change only the input directions that hold at most this share of the energy of what should stay.
        name: the site's, for errors.
        preserve_weight: p, from 0.

    Raises:
        SiteError: no input direction holds so little energy, or the inputs are too near to zero to solve for.
    """
    z_ss, z_uu, _ = second_moments(moments)
    system = z_uu + preserve * z_ss  # [I, I]
    if moments.preserved is not None:
        system = system + preserve_weight * moments.preserved
    system = system + ridge * system.diagonal().mean() * torch.eye(len(system), dtype=system.dtype)
    if null_space is None:
        step = _divide(gap, system, name)
    else:
        basis = quiet_directions(what_stays(moments), null_space, name)  # [I, directions]
        step = _divide(gap @ basis, basis.T @ system @ basis, name) @ basis.T
    # not a plain sum, which would turn a weight of -0.0 into 0.0 where there is no step
    return torch.where(step == 0, weight, weight + step)


def default_ridge(inputs: int, pairs: int) -> float:
    """Return l where none is given: 0.0125 (I / pairs)^1.5.

    Directions that few safe samples have shown are not protected by them, so the fewer the pairs, the less may change.
    An empirical rule: about the smallest l that cost no knowledge with 32 to 768 pairs, on validation tuples of two
    small models.
    """
    return 0.0125 * math.pow(inputs / pairs, 1.5)


def what_stays(moments: Moments) -> Tensor:
    """Return Z_ss + Z_pp, [I, I] float64: of inputs that an edit should leave alone."""
    z_ss, _, _ = second_moments(moments)
    return z_ss if moments.preserved is None else z_ss + moments.preserved


def quiet_directions(second_moment: Tensor, share: float, name: str, option: str = "null_space") -> Tensor:
    """Return orthonormal columns [I, n]: the directions of least energy that together hold at most `share` of it.

    Args:
        second_moment: [I, I] float64, symmetric.
        share: of the trace, above 0 and below 1.
        name: the site's, for errors.
        option: what the share is called.

    Raises:
        SiteError: even the direction of least energy holds more.
    """
    energies, directions = torch.linalg.eigh(second_moment)  # ascending
    held = energies.cumsum(0) / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    count = int((held <= share).sum())
    if count == 0:
        raise SiteError(
            f"manipulator.{option} = {share:g} leaves no input direction of {name} to change: the least used one "
            f"holds {float(held[0]):.2g} of the energy of what should stay.",
            f"Raise manipulator.{option} above that" + (", or leave it out." if option == "null_space" else "."),
        )
    quiet: Tensor = directions[:, :count]
    return quiet


def second_moments(moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Return Z_ss, Z_uu and Z_su, each [I, I] float64."""
    z_ss, z_uu, z_su = moments.safe_safe, moments.unsafe_unsafe, moments.safe_unsafe
    assert z_ss is not None and z_uu is not None and z_su is not None  # these components' specs ask for them
    return z_ss, z_uu, z_su


def _divide(gap: Tensor, system: Tensor, name: str) -> Tensor:
    """Return G A^-1 for a symmetric positive definite A."""
    factor, failed = torch.linalg.cholesky_ex(system)
    if int(failed):
        raise SiteError(
            f"The inputs of {name} leave its fit without a solution: they are zero, or manipulator.ridge is too small.",
            "Raise manipulator.ridge, or leave the site out of the targets.",
        )
    return torch.cholesky_solve(gap.T, factor).T
