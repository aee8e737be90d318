"""Gradients by plain autograd, from the equations: of a loss over a whole batch, and of every sample run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp
from pathlib import Path
from typing import Any

import torch
from conftest import PAIRS
from models import OPEN_CLIP
from torch import Tensor, nn
from torch.nn.functional import normalize

from editkit.components.site import Site
from editkit.models.batches import Batch

Gradients = dict[str, list[list[Tensor]]]
"""By side, for each of its samples, the gradients of that sample's loss by some tensors."""


def other_than(tower: str) -> Any:
    return "vision" if tower == "text" else "text"


def batch_loss(loss: str, own_s: Tensor, own_u: Tensor, other_s: Tensor, other_u: Tensor) -> Tensor:
    """G-Unsafe's or G-Safe-CLIP's loss of embeddings [B, D], tuple by tuple."""
    n = len(own_s)
    if loss == "g-unsafe":
        return torch.stack([(1 - own_s[b] @ other_u[b]) - (1 - own_s[b] @ other_s[b]) for b in range(n)]).mean()
    logits = exp(4.6052) * own_s @ other_u.T
    terms = []
    for b in range(n):
        of_safe, of_unsafe = -logits[b].log_softmax(0)[b], -logits[:, b].log_softmax(0)[b]
        terms.append((of_safe + of_unsafe) / 2 + 1 - own_s[b] @ own_u[b].detach())
    return torch.stack(terms).mean()


def sample_gradients(
    encoders: Mapping[str, Callable[[int], Tensor]], tensors: list[Tensor], tower: str, loss: str
) -> Gradients:
    """Run 12 pairs sample by sample; an encoder gives the embedding [D] of one row: 0..11 are safe, 12..23 unsafe."""
    other = encoders[other_than(tower)]
    found: Gradients = {"safe": [], "unsafe": []}
    for side, at, twin in (("safe", 0, PAIRS), ("unsafe", PAIRS, 0)):
        for b in range(PAIRS):
            own = encoders[tower](at + b)
            total = 1 - own @ other(at + b).detach()
            if loss == "g-unsafe":
                total = (1 - own @ other(twin + b).detach()) - total
            found[side].append(list(torch.autograd.grad(total, tensors)))
    return found


def sample_scores(model: nn.Module, gradients: Gradients, sites: Sequence[Site], name: str, side: str) -> Any:
    """Snip's or fisher-ratio's scores by site; `gradients` are by the tensors of `sites`, in their order."""
    found = {}
    for place, site in enumerate(sites):
        weight = of_site(model.get_parameter(site.key), site)
        g = {side: [of_site(one[place], site) for one in each] for side, each in gradients.items()}
        if name == "snip":
            found[site] = torch.stack([(weight * one).abs() for one in g[side]]).mean(dim=0)
        else:
            safe, unsafe = (torch.stack([one**2 for one in g[side]]).mean(dim=0) for side in ("safe", "unsafe"))
            found[site] = unsafe / safe
    return found


def of_site(tensor: Tensor, site: Site) -> Tensor:
    """The site's part [O, I] of a tensor as the checkpoint holds it."""
    rows = tensor if site.rows is None else tensor[slice(*site.rows)]
    return (rows.T if site.transposed else rows).detach()


class GoldenPairs:
    """The reference model in float64 by transformers alone, which embeds one of the reference's samples at a time."""

    def __init__(self, folder: Path, reference: dict[str, Tensor]) -> None:
        from transformers import CLIPModel

        self.plain = CLIPModel.from_pretrained(folder, dtype=torch.float64).eval()
        self.reference = reference

    def image(self, row: int) -> Tensor:
        pixels = self.reference["pixel_values"][row : row + 1].double()
        return normalize(self.plain.get_image_features(pixel_values=pixels).pooler_output[0], dim=0)

    def text(self, row: int) -> Tensor:
        ids = self.reference["input_ids"][row : row + 1, : int(self.reference["attention_mask"][row].sum())]
        return normalize(self.plain.get_text_features(input_ids=ids).pooler_output[0], dim=0)


class OpenPairs:
    """12 random pairs for open_clip's tiny model: as batches for editkit's adapter, and one by one in float64."""

    def __init__(self, weights: Path) -> None:
        import open_clip
        from safetensors.torch import load_file

        from editkit_clip.open_clip_format import OpenClip

        adapter = OpenClip()
        files = adapter.open(f"open_clip:{OPEN_CLIP}@{weights}")
        self.loaded: Any = adapter.load(files, device="cpu", dtype="float32", towers=("text", "vision"))
        self.sites = adapter.sites(files)
        self.plain = open_clip.create_model(OPEN_CLIP, pretrained=None).double().eval()
        self.plain.load_state_dict(load_file(weights))
        drawn = torch.Generator().manual_seed(3)
        self.pixels = torch.randn(2 * PAIRS, 3, 64, 64, generator=drawn)
        lengths = [3 + row % 5 for row in range(2 * PAIRS)]
        self.ids = [[49406, *torch.randint(0, 49405, (n,), generator=drawn).tolist(), 49407] for n in lengths]

    def batches(self, model: Any, tower: str, size: int) -> Iterable[Batch]:
        for start in range(0, PAIRS, size):
            groups = range(start, min(PAIRS, start + size))
            rows = [*groups, *(PAIRS + group for group in groups)]
            inputs = {"pixel_values": self.pixels[rows]}
            if tower == "text":
                inputs, _ = model.text_inputs([self.ids[row] for row in rows], "real")
            yield Batch(tuple(groups), inputs, None)

    def image(self, row: int) -> Tensor:
        embedded: Tensor = self.plain.encode_image(self.pixels[row : row + 1].double(), normalize=True)[0]
        return embedded

    def text(self, row: int) -> Tensor:
        padded = torch.tensor([self.ids[row] + [0] * (77 - len(self.ids[row]))])
        embedded: Tensor = self.plain.encode_text(padded, normalize=True)[0]
        return embedded
