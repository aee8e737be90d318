"""The second moment of a site's inputs on preserved items, Z_pp: the mean over them of x x^T, streamed in float64.

As of pairs, an item's activation x [I] is the mean of the site's inputs over its real tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import Model
from editkit.components.site import Site, Tower
from editkit.editing.calibration import UNREADABLE
from editkit.editing.run import Run
from editkit.errors import ScoreError
from editkit.models.batches import Batch, Unreadable, image_batches, refuse_unreadable, text_batches
from editkit.models.compute import Compute
from editkit.models.observe import observe, require_finite
from editkit.models.variants import Variant, applied


def preserved_moments(run: Run, tower: Tower, sites: Sequence[Site], so_far: Variant) -> dict[Site, Tensor]:
    """Return Z_pp, [I, I] float64, of each site on what a plan preserves; nothing where the tower sees none of it.

    Args:
        so_far: what a sequential fit has edited before.

    Raises:
        DataError: an image cannot be decoded, and the recipe does not skip bad items.
        ScoreError: not one can.
        ModelError: an activation is not finite.
    """
    if not run.plan.preserved.of(tower):
        return {}
    identities = run.identities.preserved(sites, edited=so_far.digest(list(so_far.changes)))
    found: dict[Site, Tensor] = {}
    for site, identity in identities.items():
        if (entry := run.recall("moments", identity)) is not None:
            found[site] = entry[0]["preserved"]
            run.notice(tower, entry[1])
    if missing := [site for site in sites if site not in found]:
        with run.noting(tower) as dropped:
            found |= _stream(run, tower, missing, so_far)
        for site in missing:
            run.keep("moments", identities[site], {"preserved": found[site]}, {"dropped": dropped.reasons})
    return found


def _stream(run: Run, tower: Tower, sites: Sequence[Site], so_far: Variant) -> dict[Site, Tensor]:
    model, items = run.model, run.plan.preserved.of(tower)
    label = f"preserved {'texts' if tower == 'text' else 'images'}"

    def attempt(compute: Compute) -> dict[Site, Tensor]:
        with run.stage(label, len(items)) as advance:
            batches = _batches(run, tower, compute)
            return stream_second_moments(
                model, tower, sites, batches, name_of=lambda group: str(items[group]), on_batch=advance
            )

    with applied(model, so_far, list(so_far.changes)):
        return run.batches.run_smaller(label, len(items), attempt)


def _batches(run: Run, tower: Tower, compute: Compute) -> Iterable[Batch]:
    recipe, preserved = run.plan.recipe, run.plan.preserved
    if tower == "text":
        texts = [(text,) for text in preserved.texts]
        return text_batches(run.model, texts, batch_size=compute.batch_size, tokens=recipe.calibration.tokens)

    def on_unreadable(bad: Unreadable) -> None:
        if not recipe.skips_bad_items:
            refuse_unreadable(bad)
        run.dropped[tower].merge({UNREADABLE: [str(preserved.images[bad.group])]})

    images = [(image,) for image in preserved.images]
    size, workers = compute.batch_size, compute.workers
    return image_batches(run.model, images, batch_size=size, workers=workers, on_unreadable=on_unreadable)


def stream_second_moments(
    model: Model,
    tower: Tower,
    sites: Sequence[Site],
    batches: Iterable[Batch],
    *,
    name_of: Callable[[int], str] = str,
    on_batch: Callable[[int], None] = lambda items: None,
) -> dict[Site, Tensor]:
    """Run items through one tower and return the mean of x x^T, [I, I] float64 on the CPU, of each site.

    Args:
        batches: of groups of one.
        name_of: says what the group of a batch is called, for errors.

    Raises:
        ModelError: an activation is not finite; the item and the site are named.
        SiteError: a site did not run exactly once per forward pass.
        ScoreError: there was no item.
    """
    encode = model.encode_texts if tower == "text" else model.encode_images
    place = torch.device("cpu") if model.device.type == "mps" else model.device  # mps has no float64
    sums = {site: torch.zeros(site.shape[1], site.shape[1], dtype=torch.float64, device=place) for site in sites}
    current: list[Batch] = []
    count = 0

    def receive(site: Site, x: Tensor, y: Tensor) -> None:
        batch = current[0]
        mean = Inputs(x, batch.mask).mean  # [B, I]
        require_finite(mean, lambda row: f"preserved '{name_of(batch.groups[row])}' at {site.name}")
        wide = mean.to(place, torch.float64)
        sums[site].addmm_(wide.T, wide)

    with torch.no_grad(), observe(model, sites, receive) as observer:
        for batch in batches:
            current[:] = [batch]
            encode(batch.inputs)
            observer.expect_one_run()
            count += len(batch.groups)
            on_batch(len(batch.groups))
    if not count:
        raise ScoreError(
            f"None of the preserved items could be shown to the {tower} tower.", "Check them, or give --preserve none."
        )
    return {site: (total / count).cpu() for site, total in sums.items()}
