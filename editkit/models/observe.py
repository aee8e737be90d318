"""See the inputs of sites while a model runs, and reduce them to per-sample token statistics.

Nothing here changes a model: what observes it, and the one swapped class, live inside a context manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from editkit.components.protocols import Model
from editkit.components.site import Site
from editkit.errors import SiteError
from editkit.models.attention import visible_attention

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
        if func in LINEAR:
            x, weight = (*args, *(kwargs or {}).values())[:2]  # `weight=` too, as EVA's attention has it
            for site in self._sites.get(_name(weight), ()):
                self._runs[site] += 1
                with torch.autocast(x.device.type, enabled=False):  # statistics are float32, whatever the model does
                    self._receive(site, x if x.dim() == 3 else x[:, None, :], y)
        return y

    def expect_one_run(self) -> None:
        """Check that each site ran once since the last call.

        Raises:
            SiteError: a site did not run, or ran several times, in one forward pass.
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
