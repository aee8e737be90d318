"""What a run would find in the cache, and what it would add, by the digests that earlier runs remembered.

Nothing is read for it: a file that was never hashed as it now is makes the answer "unknown".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from editkit.components.site import TOWERS, Site, Tower
from editkit.data.tuples import TupleSet
from editkit.editing.calibration import Dropped, paired
from editkit.editing.estimate import preserves
from editkit.editing.identities import Identities
from editkit.editing.moments import entry_size, preserved_size
from editkit.editing.plan import Plan, needs
from editkit.files.cache import Cache
from editkit.files.cache_folder import KINDS, Kind, stored
from editkit.files.digests import file_key
from editkit.files.remembered import files_key, remembered_digests
from editkit.models.compute import resolve_device
from editkit.models.identity import Identity, identify_model

State = Literal["hit", "miss", "unknown", "off", "not needed"]
FLOAT32 = 4
WORST_FIRST: tuple[State, ...] = ("off", "unknown", "miss", "hit")


@dataclass(frozen=True)
class Part:
    """Something that a run looks up for each of some sites, or, of embeddings, once."""

    kind: Kind
    tower: Tower
    what: str
    """The scorer, or the manipulator that asks for statistics."""
    sizes: Mapping[Site | None, int]
    """Bytes of each entry."""
    states: Mapping[Site | None, State]

    def state(self, sites: Sequence[Site] | None = None) -> State:
        """Return the state of all its entries, or of those of some sites: a hit if all of them are."""
        return _worst(self.states[site] for site in (self.states if sites is None else sites))

    @property
    def adds(self) -> int:
        """How many bytes a run adds to the cache."""
        return sum(size for site, size in self.sizes.items() if self.states[site] in ("miss", "unknown"))


@dataclass(frozen=True)
class Forecast:
    """What a run would find in the cache and add to it; sizes in bytes."""

    parts: tuple[Part, ...]
    folder: Path
    limit: int
    held: int

    @property
    def adds(self) -> int:
        """What a run would add."""
        return sum(part.adds for part in self.parts)

    def scores(self, sites: Sequence[Site]) -> State:
        """Return whether all scores of some sites of one tower are there."""
        parts = [part for part in self.parts if part.kind == "scores" and sites[0] in part.states]
        return _worst(part.state(sites) for part in parts)


def forecast_cache(plan: Plan) -> Forecast:
    """Return what a run of the plan would find in the cache and add to it.

    Raises:
        RecipeError: EDITKIT_CACHE_SIZE is no size.
    """
    cache = Cache(enabled=plan.recipe.compute.cache)
    parts = () if plan.data is None else tuple(_parts(plan, plan.data, cache))
    held = sum(entry.size for entry in stored(KINDS)) if any(part.adds for part in parts) else 0
    return Forecast(parts, cache.root, cache.limit, held)


def _parts(plan: Plan, data: TupleSet, cache: Cache) -> Iterator[Part]:
    known = _known(plan, data)
    embedded: dict[Tower, str] = {}
    for tower in plan.towers:
        sites, needed = plan.sites_of(tower), plan.manipulator_needs(tower)
        for choice in plan.scorers(tower).values():
            if needs(choice) != "weights":
                scores = known.scores(choice, sites) if known else {}
                yield _part(cache, "scores", tower, choice.name, {site: FLOAT32 * site.size for site in sites}, scores)
            if needs(choice).endswith("gradients"):
                embedded.setdefault("vision" if tower == "text" else "text", choice.name)
        name, second = plan.recipe.towers[tower].manipulator.name, "second-moments" in needed
        if needed & {"mean-inputs", "second-moments"}:
            fitted = sites[:1] if plan.is_sequential(tower) else sites  # what precedes the others is made by the run
            moments = known.moments(fitted, second=second) if known else {}
            sizes = {site: entry_size(site, second=second) for site in sites}
            yield _part(cache, "moments", tower, name, sizes, moments)
            if plan.pairs_anew(tower):  # which pairs, only embeddings tell
                yield _part(cache, "moments", tower, name, sizes, {})
                embedded.setdefault(tower, name)
            if preserves(plan, tower):
                sizes = {site: preserved_size(site) for site in sites}
                yield _part(cache, "moments", tower, name, sizes, known.preserved(fitted) if known else {})
        if "embeddings" in needed and any(site.role == "proj" for site in sites):
            embedded |= dict.fromkeys(TOWERS, name)
    for tower, what in embedded.items():
        width = next((site.shape[0] for site in plan.all_sites if (site.tower, site.role) == (tower, "proj")), 0)
        size = FLOAT32 * 2 * width * len(paired(data, plan.recipe.calibration.seed, Dropped()))
        embeddings = {None: known.embeddings(tower)} if known else {}
        yield _part(cache, "embeddings", tower, what, {None: size}, embeddings)


def _worst(states: Iterable[State]) -> State:
    found = set(states)
    return next((state for state in WORST_FIRST if state in found), "not needed")


def _known(plan: Plan, data: TupleSet) -> Identities | None:
    """Return the identities of all that a run computes, where weights and images were hashed before; else None."""
    if plan.files.checkpoint.pending is not None:
        return None
    digests = remembered_digests()
    weights = digests.get(files_key(plan.files.checkpoint))
    images = [image for item in data.items for image in (item.safe_image, item.unsafe_image)]
    images += plan.preserved.images
    if weights is None or not all(file_key(image) in digests for image in images if isinstance(image, Path)):
        return None
    compute = plan.recipe.compute
    device = resolve_device(compute.device)
    model = identify_model(plan.adapter, plan.files, weights, compute, device, plan.host)
    return Identities(plan, model, data, digests)


def _part(
    cache: Cache,
    kind: Kind,
    tower: Tower,
    what: str,
    sizes: Mapping[Any, int],
    identities: Mapping[Any, Identity],
) -> Part:
    def state(site: Site | None) -> State:
        if not cache.enabled or (site in identities and identities[site].key is None):
            return "off"
        if site not in identities:
            return "unknown"
        return "hit" if cache.has(kind, identities[site].key) else "miss"

    return Part(kind, tower, what, sizes, {site: state(site) for site in sizes})
