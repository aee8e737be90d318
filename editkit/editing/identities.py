"""The identities of all that an edit computes: a run looks them up in the cache, a plan says what it will find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from editkit.components.choice import Choice
from editkit.components.site import Site, Tower
from editkit.data.digests import image_digests
from editkit.data.tuples import Item, TupleSet
from editkit.editing.calibration import Dropped, paired
from editkit.editing.plan import Plan, needs
from editkit.models.identity import (
    EmbeddingIdentity,
    ModelIdentity,
    MomentsIdentity,
    PreservedIdentity,
    ScoreIdentity,
    content_of_images,
    content_of_texts,
    identify_component,
)


@dataclass(frozen=True)
class Identities:
    """What an edit computes of a model and of calibration tuples, by identity."""

    plan: Plan
    model: ModelIdentity
    data: TupleSet
    digests: dict[str, str] = field(default_factory=dict)
    """Of image files by `file_key`: those of this run, or those remembered."""

    @cached_property
    def fingerprint(self) -> str:
        """Of the tuples."""
        return self.data.fingerprint(self.digests)

    def scores(self, choice: Choice, sites: Sequence[Site]) -> dict[Site, ScoreIdentity]:
        """Return the identities of a scorer's scores."""
        scorer = identify_component(choice, self.plan.host)
        # only where the tuples of one loss matter does it matter in which order they were drawn
        seed = self.plan.recipe.calibration.seed if needs(choice) == "gradients" else None
        data = self.fingerprint
        return {site: ScoreIdentity(self.model, data, self._tokens(site.tower), scorer, site, seed) for site in sites}

    def moments(
        self, sites: Sequence[Site], *, second: bool, edited: str = "", data: TupleSet | None = None
    ) -> dict[Site, MomentsIdentity]:
        """Return the identities of the moments of sites' inputs.

        Args:
            second: whether second moments are among them.
            edited: digest of what a sequential fit has edited before.
            data: tuples in place of the calibration's.
        """
        drawn = self.fingerprint if data is None else data.fingerprint(self.digests)
        return {
            site: MomentsIdentity(self.model, drawn, self._tokens(site.tower), site, second, edited) for site in sites
        }

    def preserved(self, sites: Sequence[Site], *, edited: str = "") -> dict[Site, PreservedIdentity]:
        """Return the identities of the second moments of sites' inputs on what the plan preserves."""
        content = {tower: self._preserved_content(tower) for tower in {site.tower for site in sites}}
        return {
            site: PreservedIdentity(self.model, content[site.tower], self._tokens(site.tower), site, edited)
            for site in sites
        }

    def embeddings(self, tower: Tower, items: Sequence[Item] | None = None) -> EmbeddingIdentity:
        """Return the identity of the embeddings that one tower makes of tuples; None: of all with both modalities."""
        items = paired(self.data, self.plan.recipe.calibration.seed, Dropped()) if items is None else items
        return EmbeddingIdentity(self.model, tower, self._content(items, tower), edit="")

    def _content(self, items: Sequence[Item], tower: Tower) -> str:
        if tower == "text":
            return content_of_texts(captions(items))
        safe, unsafe = [item.safe_image for item in items], [item.unsafe_image for item in items]
        hashes = [image_digests(images, self.digests) for images in (safe, unsafe)]
        return content_of_images(list(zip(*hashes, strict=True)))

    def _preserved_content(self, tower: Tower) -> str:
        preserved = self.plan.preserved
        if tower == "text":
            return content_of_texts([(text,) for text in preserved.texts])
        return content_of_images([(digest,) for digest in image_digests(preserved.images, self.digests)])

    def _tokens(self, tower: Tower) -> str:
        return self.plan.recipe.calibration.tokens if tower == "text" else "all"


def captions(items: Sequence[Item]) -> list[tuple[str, str]]:
    """Return the safe and the unsafe caption of each tuple."""
    return [(item.safe_text or "", item.unsafe_text or "") for item in items]
