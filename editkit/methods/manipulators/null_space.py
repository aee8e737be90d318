"""Take out what unsafe inputs excite where what should stay has next to no energy.

Q = directions of least energy of Z_ss + Z_pp, as many as hold `share` of it      V = eigenvectors of Q^T Z_uu Q, the
fewest that hold `energy` of its trace      R = Q V      W' = W - W R R^T

Z_xy are second moments of the site's inputs: safe, preserved, unsafe. After Kodge et al., "Deep Unlearning: Fast and
Efficient Gradient-free Approach to Class Forgetting", 2024, who project the space of a class to forget, less the one to
retain, out of every layer; here the space to retain is cut off at a share of energy, in place of their soft weights.
Outputs on an input move by its part in R alone, in which inputs that should stay have at most `share` of their energy.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.methods.manipulators.options import NullSpaceOptions
from editkit.methods.manipulators.pair_fit import quiet_directions, second_moments, what_stays


class NullSpace:
    """Silence the site's weight on unsafe inputs within the null space of the others; biases stay."""

    def __init__(self, options: NullSpaceOptions) -> None:
        self.options = options

    def apply(
        self, site: Site, weight: Tensor, bias: Tensor | None, mask: Tensor, context: ManipulationContext
    ) -> Mapping[str, Tensor]:
        """Return the weight [O, I], solved in float64 and rounded once.

        Raises:
            SiteError: no input direction holds so little of the energy of what should stay.
        """
        wide, moments = weight.double(), context.moments[site]
        quiet = quiet_directions(what_stays(moments), self.options.share, site.name, option="share")
        loud = quiet @ loud_directions(quiet.T @ second_moments(moments)[1] @ quiet, self.options.energy)
        step = (wide @ loud) @ loud.T
        return {"weight": torch.where(step == 0, weight, (wide - step).to(weight.dtype))}


def loud_directions(second_moment: Tensor, energy: float) -> Tensor:
    """Return orthonormal columns [I, n]: the fewest directions that together hold at least `energy` of the trace."""
    energies, directions = torch.linalg.eigh(second_moment)  # ascending
    held = energies.flip(0).cumsum(0) / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    count = min(int((held < energy).sum()) + 1, len(energies))
    loud: Tensor = directions[:, len(energies) - count :]
    return loud
