"""The calibration pairs of what is evaluated, as an edit draws them: for what is fitted to pairs beside edits.

They are the tuples that the first patch made from this very data set says it was calibrated on; without one, those that
an edit draws by default: the data set's split for edits, at most 8,192, by the evaluation's seed.
"""

from __future__ import annotations

from editkit.data.tuples import TupleSet
from editkit.editing.calibration import load_tuples
from editkit.errors import DataError
from editkit.evals.context import EvaluationContext
from editkit.recipes.recipe import Calibration, default_split


def calibration_pairs(context: EvaluationContext) -> TupleSet:
    """Return whole tuples, none of which is evaluated.

    Raises:
        DataError: there are none; `problem` says why.
    """
    chosen = _calibration(context)
    data = load_tuples(context.recipe.data, chosen).whole()
    evaluated = set(context.tuples.digests(context.digests))
    if shared := len(evaluated & set(data.digests(context.digests))):
        raise DataError(
            f"{shared:,} of the calibration tuples ({data.name}/{data.split}) are evaluated themselves",
            "Evaluate another split, or write {split} into the path of the table.",
        )
    return data


def _calibration(context: EvaluationContext) -> Calibration:
    own = context.recipe.describe()["data"]
    for _, patch in context.patches:
        recipe = patch.record.get("recipe") or {}
        if recipe.get("data") == own and "calibration" in recipe:
            return Calibration.model_validate(recipe["calibration"])
    split = default_split(context.recipe.data, "edit")["calibration.split"]
    return Calibration.model_validate({"split": split, "seed": context.recipe.calibration.seed})
