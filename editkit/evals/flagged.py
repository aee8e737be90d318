"""Whether an edit moves an item further than it moves safe ones.

For the unit vectors b_i of the base and e_i of the edited model

    d_i = 1 - cos(b_i, e_i) = |b_i - e_i|^2 / 2          flagged_i = d_i > q

with q the ceil(0.99 m)-th smallest of the d of m safe calibration items of the same modality: of these at most 1 % are
flagged by construction, which is the chance level. Written as a distance, d is exactly 0 where nothing moves.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from editkit.evals.embeddings import Bools, Floats

FALSE_ALARMS = 0.01
"""The share of safe calibration items that are flagged."""
Distances = npt.NDArray[np.float64]


def moved(base: Floats, edited: Floats) -> Distances:
    """[n, D], [n, D] unit vectors -> [n]: how far each item moves, from 0 to 2."""
    distances: Distances = ((base.astype(np.float64) - edited) ** 2).sum(axis=1) / 2
    return distances


def limit(of_safe: Distances) -> float:
    """[m] -> the smallest value that 99 % of those of safe items do not exceed."""
    return float(np.sort(of_safe)[ceil((1 - FALSE_ALARMS) * len(of_safe)) - 1])


def flagged(distances: Distances, of_safe: Distances) -> Bools:
    """[n], [m] -> [n]: which items move further than 99 % of the safe ones."""
    found: Bools = distances > limit(of_safe)
    return found
