"""Losses whose gradients score weights, of normalised embeddings [B, D]; the tower scored is `own`, the frozen `other`.

With s and u the safe and the unsafe item of a tuple, and D(a, b) = 1 - cos(a, b):

    g_unsafe        mean of D(own s, other u) - D(own s, other s)        as released; its target in A.3: own u
    g_safe_clip     half the cross-entropies, both ways, of 100 (own s)(other u)^T against its diagonal,
                    plus the mean of D(own s, own u)
    alignment       D(own, other) of each sample
    pull            D(own, other twin) - D(own, other) of each sample

The first two are the baselines of "Safe Vision-Language Models via Unsafe Weights Manipulation" (WACV 2026),
supplement A.3; the second reverses Safe-CLIP's redirection (ECCV 2024). `pull` is one term of the first, or its mirror.
"""

from __future__ import annotations

from math import exp
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from editkit.components.protocols import LossEmbeddings

LOGIT_SCALE = exp(4.6052)
"""The factor of `g_safe_clip`'s logits: CLIP's trained one, 100, as the released code rounds its logarithm."""


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return [B], 1 - cos of each row of two normalised [B, D]."""
    return 1 - (a * b).sum(dim=-1)


def g_unsafe(embedded: LossEmbeddings, target: Literal["cross-modal", "same-modal"]) -> Tensor:
    """Return the scalar that pulls safe items to unsafe ones, and from their safe counterparts.

    Args:
        embedded: B tuples, [B, D] each.
        target: the unsafe item of the other modality (released code) or of this one, detached (A.3, Eqs. 1-4).
    """
    unsafe = embedded.other_unsafe if target == "cross-modal" else embedded.own_unsafe.detach()
    return pull(embedded.own_safe, embedded.other_safe, unsafe).mean()


def g_safe_clip(embedded: LossEmbeddings) -> Tensor:
    """Return the scalar that tells each tuple's unsafe item, of either modality, as its safe item's own.

    Every unsafe item is detached. The contrast is with the other tuples of the batch, so that of one tuple is 0.
    """
    safe, unsafe, twin = embedded.own_safe, embedded.other_unsafe.detach(), embedded.own_unsafe.detach()
    logits = LOGIT_SCALE * safe @ unsafe.T  # [B, B]
    diagonal = torch.arange(len(logits), device=logits.device)
    contrast = (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
    return contrast + cosine_distance(safe, twin).mean()


def alignment(own: Tensor, other: Tensor) -> Tensor:
    """Return [B]: how far each sample is from its counterpart in the other modality; both are [B, D]."""
    return cosine_distance(own, other)


def pull(own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
    """Return [B]: each sample's distance to the counterpart of the opposite side less that to its own; all [B, D]."""
    return cosine_distance(own, other_twin) - cosine_distance(own, other)


def sample_loss(name: Literal["alignment", "g-unsafe"], own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
    """Return [B], the loss of each sample that the option `loss` names; all are [B, D]."""
    return alignment(own, other) if name == "alignment" else pull(own, other, other_twin)
