"""What pairs look like at a site: means and second moments of its inputs, streamed in float64.

A sample's activation is the mean of the site's inputs over its real tokens, so that every pair counts alike. With s
and u the activations [I] of the safe and the unsafe sample of a pair, Z_xy is the mean over pairs of x y^T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import Model
from editkit.components.site import Site, Tower
from editkit.components.statistics import EmbeddingMoments, Moments
from editkit.errors import ScoreError
from editkit.models.batches import Batch
from editkit.models.observe import observe, require_finite
from editkit.models.site_tensors import live_weight

FLOAT64 = 8


def memory_of(site: Site, *, second: bool) -> int:
    """Return how many bytes a site's moments take while they are streamed."""
    outputs, inputs = site.shape
    return FLOAT64 * (2 * inputs + (3 * inputs**2 + outputs * inputs if second else 0))


def entry_size(site: Site, *, second: bool) -> int:
    """Return how many bytes a site's moments take in the cache."""
    inputs = site.shape[1]
    return FLOAT64 * (2 * inputs + (3 * inputs**2 if second else 0))


def preserved_size(site: Site, preserved: bool = True) -> int:
    """Return how many bytes the second moment of a site's inputs on preserved items takes; 0 where there is none."""
    return FLOAT64 * site.shape[1] ** 2 if preserved else 0


def stream_moments(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    batches: Iterable[Batch],
    *,
    second: bool,
    name_of: Callable[[int], str] = str,
    on_batch: Callable[[int], None] = lambda pairs: None,
) -> dict[Site, Moments]:
    """Run pairs through one tower and average each site's activations, and their products if `second`.

    Args:
        batches: pairs; rows 0..B-1 are the safe samples, rows B..2B-1 the unsafe ones.
        name_of: says what the group of a batch is called, for errors.

    Raises:
        ModelError: an activation is not finite; the tuple and the site are named.
        SiteError: a site did not run exactly once per forward pass.
        ScoreError: there was no pair.
    """
    encode = model.encode_texts if tower == "text" else model.encode_images
    # mps has no float64
    place = torch.device("cpu") if model.device.type == "mps" else model.device
    sums = {
        site: _Sums(site.shape[1], place, live_weight(model, site).to(place, torch.float64) if second else None)
        for site in sites
    }
    current: list[Batch] = []
    pairs = 0

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        batch = current[0]
        mean = Inputs(x, batch.mask).mean  # [2 * B, I]
        require_finite(mean, lambda row: f"tuple '{name_of(batch.groups[row % len(batch.groups)])}' at {site.name}")
        s, u = mean.to(place, torch.float64).chunk(2)
        sums[site].add(s, u)

    with torch.no_grad(), observe(model, sites, receive) as observer:
        for batch in batches:
            current[:] = [batch]
            encode(batch.inputs)
            observer.expect_one_run()
            pairs += len(batch.groups)
            on_batch(len(batch.groups))
    if not pairs:
        raise ScoreError(f"No pair was left to calibrate the {tower} tower on.", "Check captions, images and limits.")
    return {site: total.finish(pairs) for site, total in sums.items()}


class _Sums:
    """Running sums over pairs, [I], and [I, I] if there is a weight [O, I] float64."""

    def __init__(self, width: int, place: torch.device, weight: Tensor | None) -> None:
        self.weight = weight
        self.first = [torch.zeros(width, dtype=torch.float64, device=place) for _ in range(2)]
        squares = 0 if weight is None else 3
        self.second = [torch.zeros(width, width, dtype=torch.float64, device=place) for _ in range(squares)]
        self.norm = torch.zeros((), dtype=torch.float64, device=place)

    def add(self, s: Tensor, u: Tensor) -> None:
        """Add B pairs, [B, I] each."""
        for total, x in zip(self.first, (s, u), strict=True):
            total += x.sum(dim=0)
        if self.weight is None:
            return
        # Z_su is summed as its difference from Z_uu, which is exactly zero where each u is its s
        for total, (x, y) in zip(self.second, ((s, s), (u, u), (s - u, u)), strict=True):
            total.addmm_(x.T, y)
        self.norm += (s @ self.weight.T).norm(dim=1).sum()

    def finish(self, pairs: int) -> Moments:
        """Return the means over `pairs` pairs."""
        safe, unsafe = (total.cpu() / pairs for total in self.first)
        if self.weight is None:
            return Moments(pairs, safe, unsafe)
        z_ss, z_uu, z_su = self.second
        z_su += z_uu
        for total in self.second:  # in place: three [I, I] of float64 may be gigabytes
            total /= pairs
        return Moments(pairs, safe, unsafe, z_ss.cpu(), z_uu.cpu(), z_su.cpu(), float(self.norm) / pairs)


def moments_of(weight: Tensor, safe: Tensor, unsafe: Tensor) -> Moments:
    """Return the moments of activations [B, I] that are at hand; `weight` is [O, I]."""
    sums = _Sums(safe.shape[1], safe.device, weight.double())
    sums.add(safe.double(), unsafe.double())
    return sums.finish(len(safe))


SECOND = ("safe_safe", "unsafe_unsafe", "safe_unsafe")


def to_entry(moments: Moments) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a site's moments as the cache keeps them: tensors, and numbers as notes."""
    tensors = {"safe": moments.safe, "unsafe": moments.unsafe}
    tensors |= {name: held for name in SECOND if (held := getattr(moments, name)) is not None}
    return tensors, {"count": moments.pairs, "safe_output_norm": moments.safe_output_norm}


def from_entry(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Moments:
    """Return the moments that an entry holds, bit for bit."""
    return Moments(pairs=notes["count"], safe_output_norm=notes["safe_output_norm"], **tensors)


def describe_embeddings(embeddings: Tensor) -> EmbeddingMoments:
    """[2, n, D] embeddings of safe and unsafe samples -> their mean and second moment."""
    flat = embeddings.flatten(0, 1).cpu().double()  # [2 * n, D]
    return EmbeddingMoments(flat.mean(dim=0), flat.T @ flat / len(flat))
