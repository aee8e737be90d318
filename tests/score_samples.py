"""Scores of two sites for the tests of selectors, and the comparison of a mask with an expected one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from editkit.components.site import Site

SITES = [Site("text", layer, "attn.out", "m", f"{layer}.weight", (4, 5)) for layer in range(2)]


def scores_of(seed: int) -> dict[Site, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {site: torch.rand(site.shape, generator=draw) for site in SITES}


def same(mask: Tensor, expected: Any) -> bool:
    assert mask.dtype == torch.bool
    return np.array_equal(mask.numpy(), expected)
