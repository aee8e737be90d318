"""A plan being carried out: the model, loaded once and only if something looks at data, and what was noticed."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from editkit.components.protocols import Model
from editkit.components.site import Tower
from editkit.data.tuples import Item, TupleSet
from editkit.editing.calibration import UNREADABLE, Dropped, paired, usable
from editkit.editing.gradient_scores import embed_pairs
from editkit.editing.identities import Identities, captions
from editkit.editing.plan import Plan
from editkit.errors import DataError
from editkit.files.cache import Cache
from editkit.files.cache_folder import Kind
from editkit.models.batches import Unreadable, image_batches, refuse_unreadable, text_batches
from editkit.models.compute import Compute
from editkit.models.identity import Identity, identify_model
from editkit.models.load import load_model
from editkit.models.memory import Batches
from editkit.progress import Stage, tell


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
    _frozen: dict[Tower, tuple[tuple[Item, ...], Tensor, Dropped]] = field(default_factory=dict)
    _embedded: dict[Tower, tuple[tuple[Item, ...], Tensor]] = field(default_factory=dict)

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

    @cached_property
    def cache(self) -> Cache:
        """Where scores, moments and embeddings are kept."""
        return Cache(enabled=self.plan.recipe.compute.cache, tell=partial(tell, self.stage))

    @cached_property
    def identities(self) -> Identities:
        """What they are kept under."""
        plan = self.plan
        model = identify_model(plan.adapter, plan.files, self.identity, plan.recipe.compute, self.device, plan.host)
        return Identities(plan, model, self.data, self.digests)

    @contextmanager
    def noting(self, tower: Tower) -> Iterator[Dropped]:
        """Give a list of its own for what one pass over the data drops; it joins the tower's when the pass is over."""
        before, own = self.dropped.get(tower, Dropped()), Dropped()
        self.dropped[tower] = own
        try:
            yield own
        finally:
            before.merge(own.reasons)
            self.dropped[tower] = before

    def recall(self, kind: Kind, identity: Identity) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what is kept under an identity, with what was noticed when it was made.

        What was made while skipping bad items is no answer to a run that stops at an unreadable image.
        """
        entry = self.cache.load(kind, identity.key)
        if entry is None or (not self.plan.recipe.skips_bad_items and UNREADABLE in entry[1].get("dropped", ())):
            return None
        # a copy, since arithmetic may round otherwise where memory is aligned otherwise
        return {name: torch.from_numpy(array).clone() for name, array in entry[0].items()}, entry[1]

    def notice(self, tower: Tower, notes: Mapping[str, Any]) -> None:
        """Note what was noticed when something was made that is now taken from the cache."""
        self.dropped.setdefault(tower, Dropped()).merge(notes["dropped"])
        self.processing |= notes["processing"]

    def keep(self, kind: Kind, identity: Identity, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Keep what was just made, with what was noticed on the way: for scores and moments, what was dropped."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        self.cache.save(kind, identity.key, arrays, {**notes, "processing": self.processing})

    def frozen(self, tower: Tower) -> tuple[tuple[Item, ...], Tensor]:
        """Return tuples with both modalities, in the order of the draw, and their embeddings in the OTHER tower.

        The embeddings are [2, n, D], safe then unsafe, and made once per run.

        Raises:
            DataError: no tuple has both modalities.
        """
        if tower not in self._frozen:
            with self.noting(tower) as dropped:
                both = paired(self.data, self.plan.recipe.calibration.seed, dropped)
                self._frozen[tower] = (*self._embed(both, "vision" if tower == "text" else "text", tower), dropped)
        items, embedded, dropped = self._frozen[tower]
        self.dropped.setdefault(tower, Dropped()).merge(dropped.reasons)
        return items, embedded

    def embedded(self, tower: Tower) -> tuple[tuple[Item, ...], Tensor]:
        """Return the tuples that one tower sees, and their embeddings [2, n, D] in it, safe then unsafe.

        Raises:
            DataError: it sees none.
        """
        if tower not in self._embedded:
            with self.noting(tower) as dropped:
                self._embedded[tower] = self._embed(usable(self.data, [tower], dropped), tower, tower)
        return self._embedded[tower]

    def _embed(self, items: Sequence[Item], other: Tower, tower: Tower) -> tuple[tuple[Item, ...], Tensor]:
        """Return items and their embeddings in the tower `other`, less those that `tower` has to do without."""
        identity = self.identities.embeddings(other, items)
        entry = self.cache.load("embeddings", identity.key)
        if entry is not None and (self.plan.recipe.skips_bad_items or not entry[1]["unreadable"]):
            embedded, unreadable = torch.from_numpy(entry[0]["embeddings"]).to(self.device), entry[1]["unreadable"]
            self.processing |= entry[1]["processing"]
        else:
            embedded, unreadable = self._embed_anew(items, other)
            self.keep("embeddings", identity, {"embeddings": embedded}, {"unreadable": unreadable})
        bad = {int(place) for place in unreadable}
        for place in sorted(bad):
            self.dropped[tower].add(UNREADABLE, items[place])
        kept = [place for place in range(len(items)) if place not in bad]
        return tuple(items[place] for place in kept), embedded[:, torch.tensor(kept, device=embedded.device)]

    def _embed_anew(self, items: Sequence[Item], tower: Tower) -> tuple[Tensor, dict[int, str]]:
        """Return the embeddings [2, n, D] of tuples in a tower, and those whose images could not be read, and why."""
        unreadable: dict[int, str] = {}

        def on_unreadable(bad: Unreadable) -> None:
            if not self.plan.recipe.skips_bad_items:
                refuse_unreadable(bad)
            unreadable[bad.group] = bad.reason

        model = self.model
        pictures = [(item.safe_image, item.unsafe_image) for item in items if item.safe_image and item.unsafe_image]
        label = f"embedding {'captions' if tower == 'text' else 'images'}"

        def attempt(compute: Compute) -> Tensor:
            size, workers = compute.batch_size, compute.workers
            batches = (
                text_batches(model, captions(items), batch_size=size)
                if tower == "text"
                else image_batches(model, pictures, batch_size=size, workers=workers, on_unreadable=on_unreadable)
            )
            with self.stage(label, len(items)) as advance:
                return embed_pairs(model, tower, batches, len(items), advance)

        return self.batches.run_smaller(label, len(items), attempt), unreadable
