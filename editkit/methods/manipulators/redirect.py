"""Send the unsafe sample of each pair where its safe twin goes.

t(s) = W s, in the objective of `pair_fit`       G = W (Z_su - Z_uu)

With `target` nearest-safe, s in t and in Z_su is the safe item of the calibration data whose embedding is nearest to
that of the unsafe one, in the same modality and the unedited model, after SafeR-CLIP (2025), which trains towards it.
Z_ss, what is to stay, is that of the tuples' own safe items.
"""

from __future__ import annotations

from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site
from editkit.methods.manipulators.pair_fit import PairFit, second_moments


class Redirect(PairFit):
    """Fit the outputs on unsafe inputs to those on their safe twins; where the two are equal, nothing changes."""

    def gap(self, site: Site, weight: Tensor, context: ManipulationContext) -> Tensor:
        """Return W (Z_su - Z_uu), [O, I]: exactly zero where unsafe inputs equal the safe ones."""
        _, z_uu, z_su = second_moments(context.moments[site])
        return weight @ (z_su - z_uu)
