"""Controls of an edit that was fitted to pairs: the same fit to the same items, paired so that they say something else.

sides S        which side of each pair counts as the unsafe one is drawn at random: nothing to learn about safety
other pairs    each safe side gets the unsafe side of another tuple, of another concept where there is one
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from editkit.components.host import Host
from editkit.components.site import TOWERS
from editkit.data.tuples import Item, TupleSet
from editkit.editing.engine import make_patch
from editkit.editing.plan import Plan, make_plan
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.progress import Stage
from editkit.recipes.layers import flatten

SEEDS = (0, 1)


def refit_controls(patch: Patch, model: str, host: Host, stage: Stage) -> Iterator[tuple[str, Mapping[str, Change]]]:
    """Carry out a patch's recipe on its own calibration tuples, paired anew.

    Args:
        model: where the base is now; the record may name another place.

    Raises:
        EditkitError: the recipe cannot be carried out here, as where its data are missing.
    """
    plan = _recorded(patch, model, host)
    assert plan.data is not None  # the record says that it looked at data
    for label, data in _paired_anew(plan.data):
        with stage(f"control: {label}", 0):
            yield label, make_patch(replace(plan, data=data)).changes


def is_fitted(patch: Patch) -> bool:
    """Whether a patch's record says which tuples it was fitted to, and how."""
    return bool(patch.record.get("data")) and bool(patch.record.get("recipe"))


def _recorded(patch: Patch, model: str, host: Host) -> Plan:
    recipe: Mapping[str, Any] = patch.record["recipe"]
    kept = {name: recipe[name] for name in ("data", "targets", "calibration", *TOWERS)}
    kept["preserve"] = recipe.get("preserve", "none")  # recipes from before there was a choice preserve nothing
    precision = {f"compute.{name}": recipe[name] for name in ("dtype", "autocast") if name in recipe}
    return make_plan([("control", {**flatten(kept), **precision, "model": model})], host)


def _paired_anew(data: TupleSet) -> Iterator[tuple[str, TupleSet]]:
    for seed in SEEDS:
        yield f"sides {seed}", replace(data, items=random_sides(data.items, seed))
    yield "other pairs", replace(data, items=other_pairs(data.items))


def random_sides(items: tuple[Item, ...], seed: int) -> tuple[Item, ...]:
    """Exchange the two sides of about half of the tuples, captions and images alike."""
    exchanged = np.random.default_rng(seed).random(len(items)) < 0.5
    return tuple(
        replace(
            item,
            safe_image=item.unsafe_image,
            unsafe_image=item.safe_image,
            safe_text=item.unsafe_text,
            unsafe_text=item.safe_text,
        )
        if swap
        else item
        for item, swap in zip(items, exchanged, strict=True)
    )


def other_pairs(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Give each tuple the unsafe side of another, of another concept as long as none has more than half of them.

    In the order of concepts, each takes from the one that lies as far ahead as the largest concept is long.
    """
    n = len(items)
    order = sorted(range(n), key=lambda place: items[place].concept)
    largest = max(Counter(item.concept for item in items).values())
    step = largest if largest < n else max(1, n // 2)
    taken = {place: items[order[(rank + step) % n]] for rank, place in enumerate(order)}
    return tuple(
        replace(item, unsafe_image=taken[place].unsafe_image, unsafe_text=taken[place].unsafe_text)
        for place, item in enumerate(items)
    )
