"""See the inputs of sites while a model runs, and reduce them to per-sample token statistics.

Nothing here changes a model: hooks and the one swapped class live inside a context manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from editkit.attention import visible_attention
from editkit.errors import SiteError
from editkit.site import Site


class Inputs:
    """A site's inputs on B samples, with each statistic over real tokens computed once, when first asked for.

    Attributes:
        x: [B, T, I] inputs, in the model's dtype.
        mask: [B, T] bool, the tokens that count; given as None: all of them.
    """

    def __init__(self, x: Tensor, mask: Tensor | None) -> None:
        self.x = x
        self._mask = mask

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


Receive = Callable[[Site, Tensor], None]


@contextmanager
def observe(module: nn.Module, sites: Sequence[Site], receive: Receive) -> Iterator[Observer]:
    """Call `receive(site, x)` with x [B, T, I] each time a site's module runs, until the context is left.

    Raises:
        SiteError: a site has no module of its own, so its input cannot be seen.
    """
    observer = Observer(sites, receive)
    with ExitStack() as stack:
        stack.enter_context(visible_attention(module, [site.module for site in sites]))
        for site in sites:
            if not site.module:
                raise SiteError(
                    f"{site.name} is a bare parameter: no module receives its input.",
                    "Choose a scorer that needs weights only (`magnitude`, `random`), or other targets.",
                )
            handle = module.get_submodule(site.module).register_forward_pre_hook(observer.hook(site), with_kwargs=True)
            stack.callback(handle.remove)
        yield observer


class Observer:
    """Counts how often each site ran, so that a site which did not is an error and never an empty score."""

    def __init__(self, sites: Sequence[Site], receive: Receive) -> None:
        self._receive = receive
        self._runs = dict.fromkeys(sites, 0)

    def hook(self, site: Site) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        """Return the hook that hands `site`'s input on, batch first."""

        def on_forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            if isinstance(module, nn.MultiheadAttention) and not module.batch_first:
                x = x.transpose(0, 1)
            self._runs[site] += 1
            self._receive(site, x if x.dim() == 3 else x[:, None, :])

        return on_forward

    def expect_one_run(self) -> None:
        """Check that each site ran once since the last call.

        Raises:
            SiteError: a site ran never, or several times, in one forward pass.
        """
        for site, runs in self._runs.items():
            if runs != 1:
                raise SiteError(
                    f"{site.name} (module {site.module}) ran {runs} times in one forward pass, not once.",
                    "Take it out of the targets; if it should run, the adapter lists the wrong module.",
                )
            self._runs[site] = 0


def weight_of(parameter: Tensor, site: Site) -> Tensor:
    """Return the site's weight [O, I] as a view of the checkpoint tensor that holds it."""
    held = parameter.detach()
    if site.rows is not None:
        held = held[site.rows[0] : site.rows[1]]
    return held.T if site.transposed else held


def require_finite(x: Tensor, what: Callable[[int], str]) -> None:
    """Check [B, ...] statistics; `what(row)` describes the first sample that is not finite.

    Raises:
        ModelError: a value is NaN or infinite.
    """
    from editkit.errors import ModelError

    if not bool(torch.isfinite(x.sum())):
        bad = (~torch.isfinite(x)).flatten(1).any(dim=1).nonzero().flatten()
        row = int(bad[0]) if len(bad) else 0
        raise ModelError(
            f"Activations are not finite: {what(row)}.",
            "Check the weights for NaN (a damaged download?) or compute in --dtype float32.",
        )
