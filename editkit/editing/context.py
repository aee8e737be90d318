"""What a manipulator asks for beside weights and masks, gathered for a few sites at a time.

Moments are large (three I x I matrices a site), so they are streamed in groups of sites that fit the memory, one pass
over the data for each group. A sequential fit sees each group on the model with the groups before it edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from editkit.components.protocols import ManipulationContext
from editkit.components.site import Site, Tower
from editkit.components.statistics import EmbeddingMoments, Moments
from editkit.data.tuples import TupleSet
from editkit.editing.calibration import pair_batches, usable
from editkit.editing.input_scores import Scored
from editkit.editing.moments import describe_embeddings, from_entry, stream_moments, to_entry
from editkit.editing.preserved_moments import preserved_moments
from editkit.editing.run import Run
from editkit.editing.twins import nearest_twins
from editkit.files.bits import to_bits
from editkit.models.compute import Compute
from editkit.models.variants import Variant, applied
from editkit.patch.change import Change


def gather(
    run: Run, tower: Tower, scored: Mapping[str, Scored], sites: Sequence[Site], edited: Mapping[str, Tensor]
) -> ManipulationContext:
    """Return the context in which the manipulator of a tower changes a group of `sites`.

    Args:
        scored: scores by label, of every site of the tower.
        edited: tensors by key that earlier groups have changed.
    """
    asked = run.plan.manipulator_needs(tower)
    moments: dict[Site, Moments] = {}
    if asked & {"mean-inputs", "second-moments"}:
        so_far = _so_far(run, edited if run.plan.is_sequential(tower) else {})
        moments = _moments(run, run.data, tower, sites, so_far, second="second-moments" in asked)
        if run.plan.pairs_anew(tower):
            anew = _moments(run, nearest_twins(run, tower), tower, sites, so_far, second="second-moments" in asked)
            moments = {site: _paired_anew(moments[site], anew[site]) for site in sites}
        if "preserved" in asked:
            for site, preserved in preserved_moments(run, tower, sites, so_far).items():
                moments[site] = replace(moments[site], preserved=preserved)
    part = run.plan.recipe.towers[tower]
    weights = _other_weights(run, tower, sites)
    look = "embeddings" in asked and any(site.role == "proj" for site in sites)  # elsewhere towers share no space
    return ManipulationContext(
        seed=run.plan.recipe.calibration.seed,
        moments=moments,
        own_modality=_embedded(run, tower) if look else None,
        other_modality=_embedded(run, "vision" if tower == "text" else "text") if look else None,
        other_scores={label: other.scores for label, other in scored.items()},
        other_weights={} if part.other_checkpoint is None else weights[part.other_checkpoint],
        other_checkpoints=[weights[source] for source in part.other_checkpoints],
    )


def _paired_anew(own: Moments, anew: Moments) -> Moments:
    """Return moments with the unsafe and the cross ones of new pairs, which the data may have lost some of."""
    return replace(own, unsafe=anew.unsafe, unsafe_unsafe=anew.unsafe_unsafe, safe_unsafe=anew.safe_unsafe)


def _moments(
    run: Run, data: TupleSet, tower: Tower, sites: Sequence[Site], so_far: Variant, *, second: bool
) -> dict[Site, Moments]:
    """Return the moments of sites: those that are kept, and of the others those of one pass over the data."""
    edit = so_far.digest(list(so_far.changes))
    identities = run.identities.moments(sites, second=second, edited=edit, data=None if data is run.data else data)
    found: dict[Site, Moments] = {}
    for site, identity in identities.items():
        if (entry := run.recall("moments", identity)) is not None:
            found[site] = from_entry(*entry)
            run.notice(tower, entry[1])
    if missing := [site for site in sites if site not in found]:
        with run.noting(tower) as dropped:
            found |= _stream(run, data, tower, missing, so_far, second=second)
        for site in missing:
            tensors, notes = to_entry(found[site])
            run.keep("moments", identities[site], tensors, {**notes, "dropped": dropped.reasons})
    return {site: found[site] for site in sites}


def _stream(
    run: Run, data: TupleSet, tower: Tower, sites: Sequence[Site], so_far: Variant, *, second: bool
) -> dict[Site, Moments]:
    recipe, dropped = run.plan.recipe, run.dropped[tower]
    items = usable(data, [tower], dropped)
    skip = recipe.skips_bad_items
    model = run.model
    label = f"moments {tower}" if len(sites) == len(run.plan.sites_of(tower)) else f"moments {sites[0].name} ..."

    def attempt(compute: Compute) -> dict[Site, Moments]:
        batches = pair_batches(model, items, tower, recipe.calibration, compute, dropped, skip_unreadable=skip)
        with run.stage(label, len(items)) as advance:
            return stream_moments(
                model,
                tower,
                sites,
                batches,
                second=second,
                name_of=lambda group: items[group].id,
                on_batch=advance,
            )

    with applied(model, so_far, list(so_far.changes)):
        return run.batches.run_smaller(label, len(items), attempt)


def _so_far(run: Run, edited: Mapping[str, Tensor]) -> Variant:
    checkpoint = run.plan.files.checkpoint
    changes = {
        key: Change.between(key, checkpoint.info(key).dtype, checkpoint.read(key), to_bits(tensor))
        for key, tensor in edited.items()
    }
    return Variant("so far", {key: change for key, change in changes.items() if change is not None})


def _embedded(run: Run, tower: Tower) -> EmbeddingMoments:
    """Return what the embeddings of a tower look like: those that are frozen while the other one is scored."""
    _, embedded = run.frozen("vision" if tower == "text" else "text")
    return describe_embeddings(embedded)


def _other_weights(run: Run, tower: Tower, sites: Sequence[Site]) -> dict[str, dict[Site, Tensor]]:
    others = run.plan.other_checkpoints(tower, run.stage)
    return {source: {site: other.weight(site) for site in sites} for source, other in others.items()}
