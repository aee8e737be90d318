"""A site's part of the tensors that hold it: its weight, its outputs, and whether they are finite."""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.components.protocols import Model
from editkit.components.site import Site
from editkit.errors import ModelError


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


def bias_of(parameter: Tensor, site: Site) -> Tensor:
    """Return the site's bias [O] as a view of the checkpoint tensor that holds it, which may be of the site alone."""
    held = parameter.detach()
    return held if site.rows is None or len(held) == site.shape[0] else held[site.rows[0] : site.rows[1]]


def live_weight(model: Model, site: Site) -> Tensor:
    """Return the site's weight [O, I] as float32: a view where the model is float32 already."""
    return weight_of(model.parameter(site.key), site).float()


def require_finite_weight(weight: Tensor, key: str) -> None:
    """Check one tensor.

    Raises:
        ModelError: it holds a NaN or an infinity; the tensor is named.
    """
    if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
        raise ModelError(
            f"Tensor {key} holds values that are not finite (NaN or infinity).",
            "Download the model again, or leave out the edit that made it so.",
        )
