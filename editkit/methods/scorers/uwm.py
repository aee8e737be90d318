"""Unsafe Weights Manipulation (WACV 2026), Eqs. 8-10: saliency on unsafe inputs over saliency on safe ones.

    phi[o, i] = (mean_i' z_i' |W_oi'|) (z_i mean_o' |W_o'i|)        Eq. 8
    Phi       = mean over samples of phi / s_i                      Eq. 9
    score     = Phi_unsafe / Phi_safe, times |W| in the text tower  Eq. 10

`pairs` takes the ratio in each pair and then the mean, as the released code does; `means` is Eq. 10 to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.site import Site
from editkit.methods.scorers.options import UwmOptions
from editkit.methods.scorers.pairs import Factors, PairScorer, apply_prior, saliency


class Uwm(PairScorer[UwmOptions]):
    """The ratio of unsafe to safe saliency. In a pair's ratio the column means of |W| cancel."""

    def factors(self, weight: Tensor, safe: Inputs, unsafe: Inputs) -> Mapping[str, Factors]:
        """Return one term, the pairs' ratios, or two, safe and unsafe saliency."""
        magnitude = weight.abs()
        safe_rows, safe_columns = saliency(magnitude, safe)
        unsafe_rows, unsafe_columns = saliency(magnitude, unsafe)
        if self.options.aggregation == "means":
            return {"safe": (safe_rows, safe_columns), "unsafe": (unsafe_rows, unsafe_columns)}
        return {"ratio": (_ratio(unsafe_rows, safe_rows), _ratio(unsafe_columns, safe_columns))}

    def combine(self, means: Mapping[str, Tensor], weight: Tensor, site: Site) -> Tensor:
        """Return the mean ratio, or the ratio of means, with the prior."""
        ratio = means["ratio"] if "ratio" in means else _ratio(means["unsafe"], means["safe"])
        return apply_prior(ratio, weight, site, self.options)


def _ratio(unsafe: Tensor, safe: Tensor) -> Tensor:
    return torch.where(safe > 0, unsafe / safe, 0)
