"""Over-refusal: of benign items that look or sound unsafe, how many does an edit treat as if they were?

The benign items are the safe sides of the tuples in slices called `benign*`. Beside them stand the unsafe sides of
those called `unseen*`, concepts that no edit was fitted to. Of each of the two groups, by caption and by image:

    flagged     the edit moves it further than 99 % of the safe items of the calibration split (see `flagged`)
    T-V, V-T    R@1: its caption finds its own image first, its image its own caption, among all items of the slices and
                of the tuples as they come, safe and unsafe (see `gallery`)

and of the class sets that the data set names as benign, zero-shot accuracy. A detector of the concept flags unsafe
items and no benign ones; an edit that flags both is a gate for whatever resembles its calibration data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from editkit.data.tuples import TupleSet
from editkit.errors import RecipeError
from editkit.evals.context import Evaluated, EvaluationContext
from editkit.evals.embeddings import Bools, Floats, TupleEmbeddings
from editkit.evals.flagged import FALSE_ALARMS, Distances, flagged, moved
from editkit.evals.items import benign_sets, safe_items, slice_set
from editkit.evals.linear_filter import FilteredBase
from editkit.evals.overrefusal.gallery import SAFE, UNSAFE, Gallery, contents_of
from editkit.evals.overrefusal.options import OverRefusalOptions
from editkit.evals.overrefusal.safe_items import distances_of_safe
from editkit.evals.prepared import prepare
from editkit.evals.report import Measured, build_report
from editkit.evals.run_classes import measure_classes
from editkit.evals.run_filter import filter_facts, filter_of
from editkit.evals.run_slices import overlap_of_slices, part_of
from editkit.evals.run_tuples import EmbeddedTuples, embed
from editkit.evals.specs import ACCURACY
from editkit.reports.schema import Omission

Group = Literal["benign", "unseen"]
SIDES: Mapping[Group, int] = {"benign": SAFE, "unseen": UNSAFE}


class OverRefusal:
    """Recall, flagged items and accuracy of benign items, and the first two of unseen unsafe ones."""

    def __init__(self, options: OverRefusalOptions) -> None:
        self.options = options

    def run(self, context: EvaluationContext) -> Evaluated:
        """Measure the base, the edits and their controls.

        Raises:
            RecipeError: there are neither benign nor unseen slices.
            EditkitError: the model or data cannot be used.
        """
        data = slice_set(context.recipe, context.tuples, context.companions.get("slices"), context.host)
        groups = self._groups(data)
        whole = embed(context, context.tuples)
        parts = whole if data is context.tuples else embed(context, data)
        galleries = [whole] if parts is whole else [whole, parts]
        limits = self._of_safe(context)
        fitted = filter_of(context)
        left_out: list[Omission] = []
        measured = [
            self._measure(context, group, part_of(parts, data, names, context.digests), galleries, limits, fitted)
            for group, names in groups.items()
        ]
        for images in benign_sets(context.recipe, context.companions.get("benign"), context.host):
            found = measure_classes(
                prepare(ACCURACY, context.spec, context.host),
                images,
                context.variants,
                context.encoder,
                parts.seen,
                skip_unreadable=context.recipe.skips_bad_items,
                fitted=fitted,
            )
            left_out += [Omission(id=f"{images.name}: {one.id}", reason=one.reason) for one in found.left_out]
            measured.append(found.showing({metric: f"{metric} {images.name}" for metric in ACCURACY.metrics}))
        report = build_report(context.name, context.variants, measured[0], measured[1:])
        if fitted is not None:
            report["filter"] = filter_facts(fitted, context.name, context.variants, whole, measured[0], measured[1:])
        report["left_out"] += [Omission(id=f"{data.name}: {one.id}", reason=one.reason) for one in parts.left_out]
        report["left_out"] += left_out
        if parts is not whole:
            report["warnings"] += overlap_of_slices(context, data)
        return Evaluated(context.completed(report))

    def _groups(self, data: TupleSet) -> dict[Group, list[str]]:
        patterns: dict[Group, str] = {"benign": self.options.benign, "unseen": self.options.unseen}
        found = {
            group: [name for name in data.slices if fnmatchcase(name, pattern)] for group, pattern in patterns.items()
        }
        if not any(found.values()):
            raise RecipeError(
                f"No slice of {data.name} is called {' or '.join(patterns.values())}.",
                f"Name them by --benign and --unseen; slices there: {'; '.join(data.slices)}.",
            )
        return {group: names for group, names in found.items() if names}

    def _of_safe(self, context: EvaluationContext) -> dict[str, dict[str, Distances]]:
        """How far each variant moves safe calibration items, by variant and modality; nothing where there are none."""
        data = safe_items(context.recipe, context.tuples, self.options.calibration)
        if data is not None:
            return distances_of_safe(context, data)
        context.notes.append(
            f"{context.tuples.name} has no split of its own to calibrate on, so what an edit flags is left out."
        )
        return {}

    def _measure(
        self,
        context: EvaluationContext,
        group: Group,
        own: EmbeddedTuples,
        galleries: Sequence[EmbeddedTuples],
        of_safe: Mapping[str, Mapping[str, Distances]],
        fitted: FilteredBase | None,
    ) -> Measured:
        """Measure one group of every variant, and of the base with what a filter flags hidden."""
        base, side = own.of(context.variants[0].name), SIDES[group]
        hits: dict[str, dict[str, Bools]] = {}
        for variant in context.variants:
            e, sets = own.of(variant.name), [one.of(variant.name) for one in galleries]
            flags = self._flags(group, base, e, of_safe.get(variant.name, {}))
            hits[variant.name] = flags | _found(group, e, sets)
        if fitted is not None:
            flags = {
                f"{group} {kind} flagged": fitted.flags(_side(base, side, kind), kind)
                for kind in of_safe.get(context.variants[0].name, {})
            }
            sets = [fitted.hide(one.of(fitted.base)) for one in galleries]
            hits[fitted.name] = flags | _found(group, fitted.hide(base), sets)
        chance = {metric: 100 * FALSE_ALARMS for metric in hits[context.variants[0].name] if "flagged" in metric}
        sizes = {f"{group} {way}": len(Gallery(sets, texts=way == "V-T")) for way in ("T-V", "V-T")}
        chance |= {metric: 100 / size for metric, size in sizes.items()}
        return Measured(own.facts, hits, {"independent": chance, "collapsed": dict(chance)})

    def _flags(
        self, group: Group, base: TupleEmbeddings, e: TupleEmbeddings, of_safe: Mapping[str, Distances]
    ) -> dict[str, Bools]:
        side = SIDES[group]
        return {
            f"{group} {kind} flagged": flagged(moved(_side(base, side, kind), _side(e, side, kind)), distances)
            for kind, distances in of_safe.items()
        }


def _found(group: Group, e: TupleEmbeddings, sets: Sequence[TupleEmbeddings]) -> dict[str, Bools]:
    """[n] by direction: whether an item finds its own one of the other modality first."""
    side, images, texts = SIDES[group], Gallery(sets, texts=False), Gallery(sets, texts=True)
    return {
        f"{group} T-V": images.finds(_side(e, side, "captions"), contents_of(e, side, texts=False)),
        f"{group} V-T": texts.finds(_side(e, side, "images"), contents_of(e, side, texts=True)),
    }


def _side(e: TupleEmbeddings, side: int, kind: str) -> Floats:
    found: Floats = getattr(e, f"{('safe', 'unsafe')[side]}_{'texts' if kind == 'captions' else 'images'}")
    return found
