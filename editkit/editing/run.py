"""A plan being carried out: the model, loaded once and only if something looks at data, and what was noticed."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from editkit.components.protocols import Model
from editkit.components.site import TOWERS, Tower
from editkit.data.draw import draw_order
from editkit.data.tuples import Item, TupleSet
from editkit.editing.calibration import Dropped, usable
from editkit.editing.gradient_scores import embed_pairs
from editkit.editing.plan import Plan
from editkit.errors import DataError
from editkit.models.batches import Unreadable, image_batches, refuse_unreadable, text_batches
from editkit.models.compute import Compute
from editkit.models.load import load_model
from editkit.models.memory import Batches
from editkit.progress import Stage


@dataclass
class Run:
    """What every step of an edit shares."""

    plan: Plan
    stage: Stage
    identity: str
    """Of all the weights: scores are cached under it."""
    device: str
    dropped: dict[str, Dropped] = field(default_factory=dict)
    notes: dict[str, dict[str, int]] = field(default_factory=dict)
    processing: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Of the image files, hashed anew in this run: a cached score must be of these very files."""
    _frozen: dict[Tower, tuple[tuple[Item, ...], Tensor]] = field(default_factory=dict)

    @cached_property
    def model(self) -> Model:
        """The towers that the method looks at."""
        plan, compute = self.plan, self.plan.recipe.compute
        model = load_model(
            plan.adapter,
            plan.files,
            plan.seen_towers,
            device=self.device,
            dtype=compute.dtype,
            autocast_to=compute.autocast,
            stage=self.stage,
        )
        self.processing |= model.processing()
        return model

    def release_model(self) -> None:
        """Free the model's memory; it is loaded again if something looks at data after all."""
        if self.__dict__.pop("model", None) is not None:
            gc.collect()  # modules of the libraries refer to themselves

    @cached_property
    def batches(self) -> Batches:
        """The batches that fit the memory: every pass over the data is run by it."""
        return Batches(self.plan.recipe.compute, self.stage)

    @property
    def data(self) -> TupleSet:
        """The calibration tuples.

        Raises:
            DataError: none were drawn, since no component asked for them when the edit was planned.
        """
        if self.plan.data is None:
            raise DataError("A component looks at data that were not planned for.", "Declare it in its spec's `needs`.")
        return self.plan.data

    def frozen(self, tower: Tower) -> tuple[tuple[Item, ...], Tensor]:
        """Return tuples with both modalities, in the order of the draw, and their embeddings in the OTHER tower.

        The embeddings are [2, n, D], safe then unsafe, and made once per run.

        Raises:
            DataError: no tuple has both modalities.
        """
        if tower not in self._frozen:
            self._frozen[tower] = self._embed(tower, "vision" if tower == "text" else "text")
        return self._frozen[tower]

    def _embed(self, tower: Tower, other: Tower) -> tuple[tuple[Item, ...], Tensor]:
        recipe, dropped = self.plan.recipe, self.dropped.setdefault(tower, Dropped())
        found = usable(self.data, TOWERS, dropped)
        items = [found[position] for position in draw_order([item.id for item in found], recipe.calibration.seed)]
        unreadable: set[int] = set()

        def on_unreadable(bad: Unreadable) -> None:
            if not recipe.skips_bad_items:
                refuse_unreadable(bad)
            dropped.add("unreadable image", items[bad.group])
            unreadable.add(bad.group)

        model = self.model
        texts = [(item.safe_text or "", item.unsafe_text or "") for item in items]
        pictures = [(item.safe_image, item.unsafe_image) for item in items if item.safe_image and item.unsafe_image]
        label = f"embedding {'captions' if other == 'text' else 'images'}"

        def attempt(compute: Compute) -> Tensor:
            size, workers = compute.batch_size, compute.workers
            batches = (
                text_batches(model, texts, batch_size=size)
                if other == "text"
                else image_batches(model, pictures, batch_size=size, workers=workers, on_unreadable=on_unreadable)
            )
            with self.stage(label, len(items)) as advance:
                return embed_pairs(model, other, batches, len(items), advance)

        embedded = self.batches.run_smaller(label, len(items), attempt)
        kept = [position for position in range(len(items)) if position not in unreadable]
        return tuple(items[position] for position in kept), embedded[:, torch.tensor(kept, device=embedded.device)]
