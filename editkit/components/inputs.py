"""What a scorer sees of a site: its inputs on B samples, and statistics of them over real tokens."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class Inputs:
    """A site's inputs on B samples, with each statistic over real tokens computed once, when first asked for.

    Attributes:
        x: [B, T, I] inputs, in the model's dtype.
        mask: [B, T] bool, the tokens that count; given as None: all of them. A pooled input has one token (T = 1),
            whatever the mask of the sample's tokens.
    """

    def __init__(self, x: Tensor, mask: Tensor | None) -> None:
        self.x = x
        self._mask = None if mask is not None and x.shape[1] == 1 else mask

    @cached_property
    def mask(self) -> Tensor:
        """[B, T] bool: the tokens that count."""
        return self.x.new_ones(self.x.shape[:2], dtype=torch.bool) if self._mask is None else self._mask

    @cached_property
    def count(self) -> Tensor:
        """[B, 1] float32: real tokens per sample."""
        return self.mask.sum(dim=1, keepdim=True).float()

    @cached_property
    def _mean_and_variance(self) -> tuple[Tensor, Tensor]:
        # Two passes around the first real token: a constant channel then has a variance of exactly 0, and an
        # outlying token (CLS) costs no precision, which one pass over x and x^2 in float32 would.
        # Padding is overwritten before it is weighed: it may hold anything, and 0 * NaN is NaN.
        keep = self.mask[:, None, :].float()  # [B, 1, T]
        if self._mask is None:
            origin = self.x[:, :1].float()  # [B, 1, I]
            shifted = self.x.float() - origin  # [B, T, I]
        else:
            first = self.mask.int().argmax(dim=1)[:, None, None]  # [B, 1, 1]
            origin = self.x.take_along_dim(first, dim=1).float()
            origin = torch.where(self.count[:, :, None] > 0, origin, 0)
            shifted = (self.x.float() - origin).masked_fill_(~self.mask[:, :, None], 0)
        shift = keep @ shifted / self.count[:, :, None].clamp(min=1)  # [B, 1, I]
        variance = keep @ shifted.sub_(shift).square_() / (self.count[:, :, None] - 1).clamp(min=1)
        return (origin + shift).squeeze(1), variance.squeeze(1)

    @cached_property
    def mean(self) -> Tensor:
        """[B, I] float32: mean over real tokens."""
        return self._mean_and_variance[0]

    @cached_property
    def std(self) -> Tensor:
        """[B, I] float32: unbiased standard deviation over real tokens; 0 for a constant channel or one token."""
        return self._mean_and_variance[1].sqrt()

    @cached_property
    def norm(self) -> Tensor:
        """[B, I] float32: L2 norm over real tokens, from z^2 = (T - 1) s^2 + T mean^2."""
        mean, variance = self._mean_and_variance
        return ((self.count - 1).clamp(min=0) * variance + self.count * mean.square()).sqrt()

    @cached_property
    def absolute(self) -> Tensor:
        """[B, I] float32: sum of |x| over real tokens."""
        held = self.x.float().abs()
        return (held if self._mask is None else held.masked_fill(~self.mask[:, :, None], 0)).sum(dim=1)
