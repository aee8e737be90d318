"""`captioning`: what a model says of images, and what edits of it say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from editkit.components.protocols import ModelFiles
from editkit.errors import OutputError, RecipeError
from editkit.evals.captions.assembly import Finished, assemble
from editkit.evals.captions.file import CaptionFile
from editkit.evals.captions.options import CaptioningOptions
from editkit.evals.captions.plan import CaptionBatch, Settings, plan_batches
from editkit.evals.captions.run import Place, caption_missing
from editkit.evals.context import Evaluated, EvaluationContext
from editkit.evals.judges.panel import write_verdicts
from editkit.files.outputs import around
from editkit.models.captioner import load_captioner
from editkit.models.variants import Variant
from editkit.recipes.recipe import Recipe
from editkit.reports.schema import Report
from editkit.reports.store import digest_of, file_name, save_report


class Captioning:
    """Has a model say what images show, before and after edits, and compares and judges what it says."""

    def __init__(self, options: CaptioningOptions) -> None:
        self.options = options

    def run(self, context: EvaluationContext) -> Evaluated:
        """Caption with every variant, from wherever an earlier run stopped, and report.

        Captions are kept and looked for in the folder that the user names; by default in one that is named after all
        that decides a caption, so that the same command continues what it left.

        Raises:
            EditkitError: model, data or a judge cannot be used, or earlier captions were made with other settings.
        """
        recipe = context.recipe
        _require_dtype_of_weights(recipe)
        place = Place(context.device, self.options.device_map)
        data, variants = context.tuples, context.variants
        settings = _settings(recipe, self.options, context, data.fingerprint(context.digests))
        folder = context.output or context.runs / f"captions-{settings.digest}"
        _check_place(folder, context.files)
        batches = plan_batches(data.items, settings.sides, settings.batch_size, settings.seed)
        kept = {variant.name: _open(folder, variant, settings, batches) for variant in variants}
        load = partial(
            load_captioner,
            recipe.model,
            device=place.device,
            dtype=recipe.compute.dtype,
            device_map=place.device_map,
            host=context.host,
        )
        skip = recipe.skips_bad_items
        caption_missing(kept, variants, load, recipe.model, place, context.stage, skip_unreadable=skip)
        definitions = self.options.metrics
        made = assemble(context.name, variants, kept, data, context.judges, settings, context.stage, definitions)
        report = context.completed(cast(Report, made.report), device=place.kind)
        _keep(folder, report, made)
        return Evaluated(report, folder)


def _keep(folder: Path, report: Report, made: Finished) -> None:
    """Write verdicts and report beside the captions, under names that say what is in them."""
    digest = digest_of(report)
    for label, said in made.verdicts.items():
        write_verdicts(folder / f"verdicts-{label}-{digest}.jsonl", list(map(vars, made.captions)), said)
    path = folder / file_name(report["evaluation"], digest)
    if not path.exists():
        save_report(report, path)


def _require_dtype_of_weights(recipe: Recipe) -> None:
    if recipe.compute.autocast != "none":
        raise RecipeError(
            f"compute.autocast = '{recipe.compute.autocast}': captions are generated in the dtype of the weights.",
            f"Give --dtype {recipe.compute.autocast} in its place.",
        )


def _settings(recipe: Recipe, options: CaptioningOptions, context: EvaluationContext, fingerprint: str) -> Settings:
    return Settings(
        model=replace(context.model_identity, device=""),
        patch=None,
        prompt=options.prompt,
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
        seed=recipe.calibration.seed,
        batch_size=recipe.compute.batch_size,
        fingerprint=fingerprint,
        sides=options.sides,
    )


def _check_place(folder: Path, files: ModelFiles) -> None:
    if around(folder, files.checkpoint.own_folders):
        raise OutputError(f"{folder} is inside the model's folder.", "Give -o a folder outside of it.")


def _open(folder: Path, variant: Variant, settings: Settings, batches: Sequence[CaptionBatch]) -> CaptionFile:
    """Open a variant's captions file; edits with one name have files of their own."""
    digest = variant.digest(list(variant.changes))
    plain = re.sub(r"[^\w.-]+", "-", variant.name)
    path = folder / (f"{plain}-{digest[:8]}.jsonl" if digest else f"{plain}.jsonl")
    return CaptionFile.open(path, replace(settings, patch=digest or None), batches)
