"""Ways to undo an edit in the embeddings that it gives. t captions, v images, s safe, u unsafe; all unit vectors.

    shift     t_u' = t_u + mean (v_u - t_u)           the gap between unsafe captions and their images, from k pairs
    tune      t' = A t, v' = B v                      A and B fitted to k pairs and their safe twins
    reflect   t' = t - 2 (t . n) n                    n the first principal direction of captions without labels
    remove    t' = t - (t . n) n, v' = v - (v . n) n  the same direction

and then normalised. `shift` moves the unsafe captions that the attacker asks, wherever they stand; safe ones stay.
`tune` is contrastive fine-tuning of two D x D maps behind the model, which start at the identity, with CLIP's loss over
the 2 k pairs in one batch (temperature 0.07) and a penalty 0.1 (|A - I|^2 + |B - I|^2): 100 steps of Adam at a rate of
0.003, where it has converged. It stands for fine-tuning the two projections, whose own inputs it does without. Nothing
in it is random but the pairs.

Source of the loss: A. Radford et al., Learning transferable visual models from natural language supervision (2021).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, normalize

from editkit.evals.embeddings import Floats, Integers, TupleEmbeddings

Doubles = npt.NDArray[np.float64]

STEPS = 100
RATE = 3e-3
TEMPERATURE = 0.07
PENALTY = 0.1


def rows_of(e: TupleEmbeddings, rows: Integers) -> TupleEmbeddings:
    """Return some of the tuples."""
    return TupleEmbeddings(
        e.safe_images[rows],
        e.unsafe_images[rows],
        e.safe_texts[rows],
        e.unsafe_texts[rows],
        tuple(e.ids[row] for row in rows),
        tuple(e.concepts[row] for row in rows),
    )


def shift(e: TupleEmbeddings, known: TupleEmbeddings) -> TupleEmbeddings:
    """Move unsafe captions by the mean gap to their images in the k tuples that are known."""
    gap = (known.unsafe_images.astype(np.float64) - known.unsafe_texts).mean(axis=0)
    return replace(e, unsafe_texts=_unit(e.unsafe_texts + gap))


def tune(e: TupleEmbeddings, known: TupleEmbeddings) -> TupleEmbeddings:
    """Map captions and images by what contrastive fine-tuning on the k tuples that are known makes of the identity."""
    texts, images = (
        torch.from_numpy(np.concatenate(parts))
        for parts in ((known.safe_texts, known.unsafe_texts), (known.safe_images, known.unsafe_images))
    )
    identity = torch.eye(texts.shape[1])
    maps = [identity.clone().requires_grad_() for _ in range(2)]
    optimizer, labels = torch.optim.Adam(maps, lr=RATE), torch.arange(len(texts))
    with torch.enable_grad():
        for _ in range(STEPS):
            t, v = (normalize(x @ one.T, dim=1) for x, one in zip((texts, images), maps, strict=True))
            logits = t @ v.T / TEMPERATURE
            loss = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
            penalty = sum((one - identity).square().sum() for one in maps)
            gradients = torch.autograd.grad(loss + PENALTY * penalty, maps)
            for one, gradient in zip(maps, gradients, strict=True):
                one.grad = gradient
            optimizer.step()
    of_text, of_image = (one.detach().double().numpy() for one in maps)
    return e.mapped(lambda images: _unit(images @ of_image.T), lambda texts: _unit(texts @ of_text.T))


def reflect(e: TupleEmbeddings, direction: Doubles) -> TupleEmbeddings:
    """Reflect captions at a unit direction [D]."""
    safe, unsafe = (_unit(x - 2 * np.outer(x @ direction, direction)) for x in (e.safe_texts, e.unsafe_texts))
    return replace(e, safe_texts=safe, unsafe_texts=unsafe)


def remove(e: TupleEmbeddings, direction: Doubles) -> TupleEmbeddings:
    """Take a unit direction [D] out of everything."""

    def without(x: Floats) -> Floats:
        return _unit(x - np.outer(x @ direction, direction))

    return e.mapped(without, without)


def principal_direction(e: TupleEmbeddings) -> Doubles:
    """Return the unit direction [D] in which captions vary most, whichever side they are of."""
    captions = np.concatenate([e.safe_texts, e.unsafe_texts]).astype(np.float64)
    captions -= captions.mean(axis=0)
    direction: Doubles = np.linalg.eigh(captions.T @ captions)[1][:, -1]
    return direction


def _unit(x: Doubles) -> Floats:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


WITH_PAIRS = {"shift": shift, "tune": tune}
"""Attacks that need pairs."""
WITHOUT_PAIRS = {"reflect": reflect, "remove": remove}
"""Attacks that need captions alone, and no labels."""
