"""`eval captioning`: caption a model's images and those of edits of it, score, judge and compare them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from editkit.components.host import Host
from editkit.components.protocols import ModelFiles
from editkit.data.tuples import TupleSet
from editkit.errors import OutputError, RecipeError
from editkit.evals.captions.assembly import NAME, assemble
from editkit.evals.captions.file import CaptionFile
from editkit.evals.captions.options import CaptioningOptions
from editkit.evals.captions.plan import CaptionBatch, Settings, plan_batches
from editkit.evals.captions.report import CaptionReport
from editkit.evals.captions.run import Place, caption_missing
from editkit.evals.judges.panel import choose_judges, write_verdicts
from editkit.evals.provenance import describe_run
from editkit.evals.subjects import (
    LoadedPatches,
    calibrated_tuples,
    evaluated_variants,
    evaluation_recipe,
    warn_of_overlap,
)
from editkit.files.outputs import around
from editkit.models.captioner import load_captioner
from editkit.models.compute import resolve_device
from editkit.models.find import open_model
from editkit.models.variants import Variant
from editkit.patch.patch import Patch
from editkit.progress import Stage, silent
from editkit.recipes.layers import Layer
from editkit.recipes.recipe import Recipe
from editkit.reports.store import RUNS, digest_of, save_report

BATCH_SIZE = 8
"""By default: so many images fit 48 GB with a model of 13 billion weights in half precision, however long it speaks."""


@dataclass(frozen=True)
class Captioned:
    """The report, the folder with captions, verdicts and the report, and what observers failed at."""

    report: CaptionReport
    folder: Path
    notes: tuple[str, ...] = ()


def run_captioning(
    layers: Sequence[tuple[str, Layer]],
    host: Host,
    options: CaptioningOptions,
    *,
    patches: Sequence[Path] = (),
    judges: Sequence[str] = (),
    judge_settings: Mapping[str, Any] | None = None,
    controls: bool = False,
    device_map: str | None = None,
    output: Path | None = None,
    stage: Stage = silent,
) -> Captioned:
    """Caption with the base and each patch laid over it, from wherever an earlier run stopped, and report.

    Args:
        layers: recipe layers, of which `model`, `data`, `calibration` and `compute` count.
        judges: NAME or LABEL=NAME; `judge_settings` holds their options by `judge.LABEL.OPTION`.
        controls: also caption with each patch's matched controls; each takes as long as the patch.
        device_map: how to spread the model over devices.
        output: where captions are kept and looked for; by default a folder below `editkit-runs` that is named after the
            settings, so that the same command goes on with what it left.

    Raises:
        EditkitError: model, data, a patch or a judge cannot be used, or earlier captions were made with other settings.
    """
    loaded = [(path, Patch.load(path)) for path in patches]
    recipe = _resolve(layers, loaded, host)
    chosen = choose_judges(judges, judge_settings or {}, host)
    place = Place(resolve_device(recipe.compute.device), device_map)
    data = _load(recipe)
    adapter, files = open_model(recipe.model, host)
    variants = evaluated_variants(loaded, adapter, files, host, with_controls=controls)
    digests: dict[str, str] = {}
    settings = _settings(recipe, options, files, data.fingerprint(digests))
    folder = output or RUNS / f"captions-{settings.digest}"
    _check_place(folder, files)
    batches = plan_batches(data.items, options.sides, settings.batch_size, settings.seed)
    kept = {variant.name: _open(folder, variant, settings, batches) for variant in variants}
    load = partial(
        load_captioner,
        recipe.model,
        device=place.device,
        dtype=recipe.compute.dtype,
        device_map=device_map,
        host=host,
    )
    skip = recipe.skips_bad_items
    caption_missing(kept, variants, load, recipe.model, place, stage, skip_unreadable=skip)
    made = assemble(variants, kept, data, chosen, settings, stage)
    report: Any = {
        **made.report,
        "warnings": [*made.report["warnings"], *warn_of_overlap(data, digests, calibrated_tuples(loaded), "captioned")],
        "notes": list(files.notes),
        "run": describe_run(recipe, files, settings.identity, loaded, options, place.kind),
    }
    digest = digest_of(report)
    for label, said in made.verdicts.items():
        write_verdicts(folder / f"verdicts-{label}-{digest}.jsonl", list(map(vars, made.captions)), said)
    path = folder / f"eval-{NAME}-{digest}.json"
    if not path.exists():  # its name says what is in it
        save_report(report, path)
    return Captioned(report, folder, tuple(host.finished(report, folder)))


def _resolve(layers: Sequence[tuple[str, Layer]], loaded: LoadedPatches, host: Host) -> Recipe:
    recipe = evaluation_recipe({"compute.batch_size": BATCH_SIZE}, layers, loaded, host)
    if recipe.compute.autocast != "none":
        raise RecipeError(
            f"compute.autocast = '{recipe.compute.autocast}': captions are generated in the dtype of the weights.",
            f"Give --dtype {recipe.compute.autocast} in its place.",
        )
    return recipe


def _load(recipe: Recipe) -> TupleSet:
    chosen = recipe.calibration
    data = recipe.data.build().load(chosen.split)
    if not isinstance(data, TupleSet):
        raise RecipeError(
            f"`{NAME}` captions the images of tuples, but data set '{recipe.data.name}' holds labelled images.",
            "Give --data visu:FOLDER or pairs:FILE.",
        )
    return data.whole().select(chosen.concepts, chosen.limit, chosen.per_concept, chosen.seed)


def _settings(recipe: Recipe, options: CaptioningOptions, files: ModelFiles, fingerprint: str) -> Settings:
    return Settings(
        identity=files.checkpoint.identity(),
        processing=files.settings,
        patch=None,
        prompt=options.prompt,
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
        seed=recipe.calibration.seed,
        batch_size=recipe.compute.batch_size,
        dtype=recipe.compute.dtype,
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
