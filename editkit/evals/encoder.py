"""Embeddings of many variants of one model from one pass over the data, cached by weights, edit and data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from editkit.components.protocols import Adapter, Model, ModelFiles
from editkit.components.site import Tower, towers_of
from editkit.data.readers.images import ImageSource
from editkit.errors import ModelError
from editkit.files.cache import Cache
from editkit.models.batches import Batch, Sink, Unreadable, image_batches, text_batches
from editkit.models.compute import Compute
from editkit.models.identity import EmbeddingIdentity, ModelIdentity, content_of_images, content_of_texts
from editkit.models.load import load_model
from editkit.models.memory import Batches, free_on_oom
from editkit.models.variants import Variant, applied
from editkit.progress import Stage, tell

Floats = npt.NDArray[np.float32]


@dataclass
class Embedded:
    """Embeddings [k, n, D] of n groups of k samples, and the groups that could not be decoded."""

    values: Floats
    unreadable: dict[int, str] = field(default_factory=dict)

    def at(self, places: Sequence[int]) -> Embedded:
        """Return the groups at these places, which may repeat."""
        if list(places) == list(range(self.values.shape[1])):
            return self
        bad = {group: self.unreadable[place] for group, place in enumerate(places) if place in self.unreadable}
        return Embedded(self.values[:, list(places)], bad)


@dataclass
class Encoder:
    """A model that is loaded when the first embedding is missing from the cache, and its variants."""

    adapter: Adapter
    files: ModelFiles
    identity: ModelIdentity
    compute: Compute
    device: str
    stage: Stage

    @cached_property
    def model(self) -> Model:
        """The loaded base model."""
        return load_model(
            self.adapter,
            self.files,
            self.towers,
            device=self.device,
            dtype=self.compute.dtype,
            autocast_to=self.compute.autocast,
            stage=self.stage,
        )

    @cached_property
    def cache(self) -> Cache:
        """Where embeddings are kept."""
        return Cache(enabled=self.compute.cache, tell=partial(tell, self.stage))

    @cached_property
    def batches(self) -> Batches:
        """The batches that fit the memory."""
        return Batches(self.compute, self.stage)

    @cached_property
    def towers(self) -> tuple[Tower, ...]:
        """The towers that the model has."""
        return towers_of(self.adapter.sites(self.files))

    @cached_property
    def _keys(self) -> dict[Tower, set[str]]:
        return {tower: set(self.adapter.tensors(self.files, tower).values()) for tower in self.towers}

    def tower_keys(self, tower: Tower, variant: Variant) -> list[str]:
        """Return the touched tensors that a tower's embeddings are computed from."""
        return sorted(self._keys[tower] & set(variant.changes))

    def texts(self, variants: Sequence[Variant], groups: Sequence[tuple[str, ...]]) -> dict[str, Embedded]:
        """Embed n groups of k texts with each variant."""

        def batches(compute: Compute) -> Iterator[Batch]:
            return text_batches(self.model, groups, batch_size=compute.batch_size)

        return self._embed("text", variants, groups, content_of_texts(groups), batches, {})

    def images(
        self,
        variants: Sequence[Variant],
        groups: Sequence[tuple[ImageSource, ...]],
        digests: Sequence[Sequence[str | None]],
        on_unreadable: Sink,
    ) -> dict[str, Embedded]:
        """Embed n groups of k images with each variant; `digests` name the images' bytes in the cache.

        A group that occurs several times, as in slices that tell the same scenes in other words, is embedded once.
        """
        chosen, places = distinct(digests)
        once = self._images(variants, [groups[i] for i in chosen], [digests[i] for i in chosen], on_unreadable)
        return {name: embedded.at(places) for name, embedded in once.items()}

    def _images(
        self,
        variants: Sequence[Variant],
        groups: Sequence[tuple[ImageSource, ...]],
        digests: Sequence[Sequence[str | None]],
        on_unreadable: Sink,
    ) -> dict[str, Embedded]:
        unreadable: dict[int, str] = {}

        def note(item: Unreadable) -> None:
            on_unreadable(item)
            unreadable[item.group] = item.reason

        def batches(compute: Compute) -> Iterator[Batch]:
            size, workers = compute.batch_size, compute.workers
            return image_batches(self.model, groups, batch_size=size, workers=workers, on_unreadable=note)

        found = self._embed("vision", variants, groups, content_of_images(digests), batches, unreadable)
        cached = {group: reason for embedded in found.values() for group, reason in embedded.unreadable.items()}
        for group, reason in sorted(cached.items()):
            if group not in unreadable:  # embedded while skipping: for this run it may be an error
                on_unreadable(Unreadable(group, reason, "Replace the file, or leave it out with --on-bad-item skip."))
        return found

    def _embed(
        self,
        tower: Tower,
        variants: Sequence[Variant],
        groups: Sequence[tuple[object, ...]],
        content: str,
        batches: Callable[[Compute], Iterator[Batch]],
        unreadable: dict[int, str],
    ) -> dict[str, Embedded]:
        edits = {variant.name: variant.digest(self.tower_keys(tower, variant)) for variant in variants}
        missing: dict[str, Variant] = {}
        found: dict[str, Embedded] = {}
        for variant in variants:  # variants that leave this tower alone share the base's embeddings
            edit = edits[variant.name]
            if edit in found or edit in missing:
                continue
            entry = self.cache.load("embeddings", self._key(tower, content, edit))
            if entry is not None:
                bad = {int(group): reason for group, reason in entry[1]["unreadable"].items()}
                found[edit] = Embedded(entry[0]["embeddings"], bad)
            else:
                missing[edit] = variant
        if missing:
            models = f" x {len(missing)} models" if len(missing) > 1 else ""
            label = f"embedding {'captions' if tower == 'text' else 'images'}{models}"
            attempt = partial(self._run, tower, missing, groups, batches, label)
            fresh = self.batches.run_smaller(label, len(groups), attempt)
            notes = {"unreadable": unreadable, "processing": self.model.processing()}
            for edit, values in fresh.items():
                found[edit] = Embedded(values, dict(unreadable))
                self.cache.save("embeddings", self._key(tower, content, edit), {"embeddings": values}, notes)
        return {variant.name: found[edits[variant.name]] for variant in variants}

    def _key(self, tower: Tower, content: str, edit: str) -> str | None:
        return EmbeddingIdentity(self.identity, tower, content, edit).key

    def _run(
        self,
        tower: Tower,
        missing: Mapping[str, Variant],
        groups: Sequence[tuple[object, ...]],
        batches: Callable[[Compute], Iterator[Batch]],
        label: str,
        compute: Compute,
    ) -> dict[str, Floats]:
        model = self.model
        encode = model.encode_texts if tower == "text" else model.encode_images
        keys = {edit: self.tower_keys(tower, variant) for edit, variant in missing.items()}
        width = len(groups[0])
        made: dict[str, Floats] = {}
        with self.stage(label, len(groups)) as advance:
            for batch in batches(compute):
                for edit, variant in missing.items():
                    with applied(model, variant, keys[edit]), torch.no_grad():
                        # the old values are put back only once there is room again: a copy that fails half-way would
                        # leave the model edited
                        embedded: Tensor = free_on_oom(partial(encode, batch.inputs))
                    values = embedded.view(width, -1, embedded.shape[-1]).cpu().numpy()  # [k, B, D]
                    rows = made.setdefault(edit, np.zeros((width, len(groups), values.shape[-1]), dtype=np.float32))
                    rows[:, list(batch.groups)] = values
                advance(len(batch.groups))
        if not made:
            raise ModelError("Not one image could be decoded, so nothing was embedded.", "Check the image files.")
        return made


def distinct(digests: Sequence[Sequence[str | None]]) -> tuple[list[int], list[int]]:
    """Return the first group of each kind, and for every group the place of its kind among them.

    Groups are alike whose images have the same digests; one without a digest is like no other.
    """
    places: dict[object, int] = {}
    chosen: list[int] = []
    found: list[int] = []
    for group, named in enumerate(digests):
        key: object = tuple(named) if all(named) else group
        if key not in places:
            places[key] = len(chosen)
            chosen.append(group)
        found.append(places[key])
    return chosen, found
