"""See the inputs of sites while a model runs, and reduce them to per-sample token statistics.

Nothing here changes a model: what observes it, and the one swapped class, live inside a context manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from editkit.attention import visible_attention
from editkit.errors import SiteError
from editkit.protocols import Model
from editkit.site import Site


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


Receive = Callable[[Site, Tensor, Tensor], None]
"""Told a site, its input x [B, T, I] and the output y of the map, as the model computed it.

Where one tensor holds several sites (q, k, v), y may hold the outputs of all: see `outputs_of`."""

LINEAR = frozenset(
    (functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm)
)


@contextmanager
def observe(model: Model, sites: Sequence[Site], receive: Receive) -> Iterator[Observer]:
    """Call `receive(site, x, y)` each time a site's map runs, until the context is left."""
    observer = Observer(model, sites, receive)
    with visible_attention(model.module, [site.module for site in sites]), observer:
        yield observer


class Observer(TorchFunctionMode):
    """Sees linear maps by their weights, whatever module they belong to, or none (open_clip's `proj`).

    It counts how often each site ran, so that a site which did not is an error and never an empty score.
    """

    def __init__(self, model: Model, sites: Sequence[Site], receive: Receive) -> None:
        super().__init__()
        self._receive = receive
        self._runs = dict.fromkeys(sites, 0)
        self._sites: dict[tuple[int, int], list[Site]] = {}
        for site in sites:
            held = model.parameter(site.key)
            # a fused tensor is used whole by some libraries and in parts by others
            for tensor in (held,) if site.rows is None else (held, held[site.rows[0] : site.rows[1]]):
                known = self._sites.setdefault(_name(tensor), [])
                if site not in known:
                    known.append(site)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`; if it is a linear map by a site's weight, tell the receiver."""
        y = func(*args, **(kwargs or {}))
        if func in LINEAR and len(args) > 1:
            for site in self._sites.get(_name(args[1]), ()):
                x = args[0]
                self._runs[site] += 1
                with torch.autocast(x.device.type, enabled=False):  # statistics are float32, whatever the model does
                    self._receive(site, x if x.dim() == 3 else x[:, None, :], y)
        return y

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


def _name(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), weight.numel()


def outputs_of(y: Tensor, site: Site) -> Tensor:
    """Return a site's part [B, T, O] of the output of its map, or of its gradient."""
    y = y if y.dim() == 3 else y[:, None, :]
    return y if site.rows is None or y.shape[-1] == site.shape[0] else y[..., site.rows[0] : site.rows[1]]


def weight_of(parameter: Tensor, site: Site) -> Tensor:
    """Return the site's weight [O, I] as a view of the checkpoint tensor that holds it."""
    held = parameter.detach()
    if site.role == "tensor":
        return held.view(site.shape)
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
