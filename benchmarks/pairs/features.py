"""What the final projections of both towers read, for every caption, image and class prompt of the demo's data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.protocols import Model
from editkit.components.site import TOWERS, Site, Tower
from editkit.components.specs import DatasetSpec
from editkit.models.batches import Batch, image_batches, text_batches
from editkit.models.find import find_adapter
from editkit.models.load import load_model
from editkit.models.observe import observe
from editkit.progress import Stage
from editkit_demo.tuples import shipped_combinations
from editkit_demo.vocabulary import ALL_OBJECTS, TEMPLATE, UNSAFE_ADJECTIVES

SPLITS = ("calibration", "validation", "test")
BATCH = 64


@dataclass(frozen=True)
class Tuples:
    """n tuples: pooled features [2, n, I] of captions and images, safe then unsafe, and what their scenes show."""

    texts: Tensor
    images: Tensor
    safe_objects: Tensor
    """[n] index of the safe object among all classes."""
    unsafe_objects: Tensor
    concepts: tuple[str, ...]
    toned: Tensor
    """[n] bool: whether the captions have an adjective of their kind."""

    def __len__(self) -> int:
        return self.texts.shape[1]

    def take(self, rows: Tensor) -> Tuples:
        """Return the tuples `rows`."""
        return Tuples(
            self.texts[:, rows],
            self.images[:, rows],
            self.safe_objects[rows],
            self.unsafe_objects[rows],
            tuple(self.concepts[row] for row in rows.tolist()),
            self.toned[rows],
        )

    def with_random_sides(self, seed: int) -> Tuples:
        """Return the tuples with safe and unsafe exchanged in a random half of them, in both modalities: a control."""
        swap = torch.rand(len(self), generator=torch.Generator().manual_seed(seed)) < 0.5
        texts, images = (
            torch.where(swap[None, :, None], pooled.flip(0), pooled) for pooled in (self.texts, self.images)
        )
        return replace(self, texts=texts, images=images)


@dataclass(frozen=True)
class Features:
    """A model at its final projections: weights [D, I] by tower, tuples by split, class prompts [C, I]."""

    weights: dict[Tower, Tensor]
    tuples: dict[str, Tuples]
    prompts: Tensor


def read_features(model: str, stage: Stage) -> Features:
    """Run both towers of a model over the demo's tuples of all splits, once."""
    host = default_host()
    spec = find_adapter(model, host)
    adapter = host.adapter(spec)
    files = adapter.open(model)
    sites = {site.tower: site for site in adapter.sites(files) if site.role == "proj"}
    live = load_model(adapter, files, TOWERS, device="cpu", dtype="float32", stage=stage)
    with stage("reading features", len(SPLITS)) as advance:
        tuples = {}
        for split in SPLITS:
            tuples[split] = _tuples(live, sites, split, host)
            advance(1)
    prompts = [(TEMPLATE.format(name),) for name in ALL_OBJECTS]
    pooled = _pooled(live, sites["text"], text_batches(live, prompts, batch_size=BATCH), len(prompts), 1)
    weights = {tower: live.parameter(site.key).detach().clone() for tower, site in sites.items()}
    return Features(weights, tuples, pooled[0])


def _tuples(model: Model, sites: dict[Tower, Site], split: str, host: Host) -> Tuples:
    items = host.choose(DatasetSpec, "demo", {}, "data").build().load(split).items
    captions = [(item.safe_text, item.unsafe_text) for item in items]
    pictures = [(item.safe_image, item.unsafe_image) for item in items]
    classes = {name: index for index, name in enumerate(ALL_OBJECTS)}
    shown = shipped_combinations()[split]
    return Tuples(
        _pooled(model, sites["text"], text_batches(model, captions, batch_size=BATCH), len(items), 2),
        _pooled(model, sites["vision"], image_batches(model, pictures, batch_size=BATCH, workers=0), len(items), 2),
        torch.tensor([classes[safe] for _, safe, _, _ in shown]),
        torch.tensor([classes[unsafe] for _, _, unsafe, _ in shown]),
        tuple(item.concept for item in items),
        torch.tensor([any(word in unsafe for word in UNSAFE_ADJECTIVES) for _, unsafe in captions]),
    )


def _pooled(model: Model, site: Site, batches: Iterable[Batch], count: int, width: int) -> Tensor:
    """Return the projection's inputs [width, count, I]."""
    encode = model.encode_texts if site.tower == "text" else model.encode_images
    seen: list[Tensor] = []
    made = torch.zeros(width, count, site.shape[1])
    with torch.no_grad(), observe(model, [site], lambda _, x, y: seen.append(x[:, 0])) as observer:
        for batch in batches:
            seen.clear()
            encode(batch.inputs)
            observer.expect_one_run()
            made[:, list(batch.groups)] = seen[0].unflatten(0, (width, -1))
    return made
