"""The Python API: the same edit and evaluation as the command line, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.editing.engine import make_patch
from editkit.editing.plan import Plan, make_plan
from editkit.errors import OutputError
from editkit.evals.run import run_evaluation
from editkit.files.outputs import check_free, check_new_file, first_free
from editkit.models.memory import free_on_oom
from editkit.patch.card import write_card
from editkit.patch.patch import Applied, Patch
from editkit.progress import Stage, silent
from editkit.recipes.catalogue import origin
from editkit.recipes.layers import data_layer, flatten, given, read_recipe
from editkit.recipes.tower_swap import tower_swap
from editkit.reports.schema import Report
from editkit.reports.store import RUNS, save_report


@dataclass(frozen=True)
class Edited:
    """A finished edit: the patch, its folder, the edited model, if it was saved, and which observers failed."""

    plan: Plan
    patch: Patch
    folder: Path
    saved: Applied | None
    notes: tuple[str, ...] = ()


def edit(
    scorer: str | None = None,
    *,
    selector: str | None = None,
    manipulator: str | None = None,
    alpha: float | None = None,
    tau: float | None = None,
    model: str | Path | None = None,
    data: str | None = None,
    targets: Sequence[str] | None = None,
    vision_tower: str | Path | None = None,
    text_tower: str | Path | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    save: str | Path | None = None,
    host: Host | None = None,
    stage: Stage = silent,
) -> Edited:
    """Edit a model and write the patch; what is not given comes from the recipe, the adapter, or the defaults.

    Args:
        data: NAME or NAME:PATH.
        vision_tower: another model, whose vision tower takes this one's place; `text_tower` likewise.
        recipe: a YAML file, or as text the name of one (`editkit recipes list`).
        settings: any recipe value by dotted path, such as `{"scorer.aggregation": "means"}`.
        output: a new folder for the patch; by default one below `editkit-runs`.
        save: a new folder for the edited model.

    Raises:
        EditkitError: anything that is wrong with the recipe, model, data or output; nothing is left behind.

    Example:
        >>> edited = edit("uwm", alpha=-1, tau=0.2, output="patch")
        >>> edited.patch.apply(model_folder, "edited-model")
    """
    values = {
        "model": _text(model),
        **data_layer(data),
        "scorer.name": scorer,
        "selector.name": selector,
        "manipulator.name": manipulator,
        "manipulator.alpha": alpha,
        "selector.tau": tau,
        "targets": tuple(targets) if targets else None,
    }
    own = given(values)
    layers = [(origin(recipe), read_recipe(recipe))] if recipe is not None else []
    layers += [("argument", own | tower_swap(_text(text_tower), _text(vision_tower), own))]
    layers += [("settings", flatten(settings or {}))]
    for place in (output, save):
        if place is not None:
            check_free(Path(place))
    plan = make_plan(layers, host or default_host())
    return carry_out(plan, output=_path(output), save=_path(save), stage=stage)


def carry_out(plan: Plan, *, output: Path | None = None, save: Path | None = None, stage: Stage = silent) -> Edited:
    """Make a plan's patch, write it, and write the edited model if asked to.

    Raises:
        EditkitError: see `edit`.
    """
    _check_places(plan, output or default_folder(plan), save)
    patch = free_on_oom(partial(make_patch, plan, stage))
    folder = output or default_folder(plan)  # anew: a run beside this one may have taken the name meanwhile
    patch.save(folder, write_card(patch.record, folder.name))
    saved = None
    if save is not None:
        saved = patch.apply(
            plan.files.checkpoint, save, stage=stage, beside=partial(plan.adapter.save_beside, plan.files)
        )
    return Edited(plan, patch, folder, saved, tuple(plan.host.finished(patch.record, folder)))


def _check_places(plan: Plan, folder: Path, save: Path | None) -> None:
    """Refuse, before anything is computed, places that would be refused once half of the work is on the disk."""
    for place in (folder, save):
        if place is not None:
            check_free(place, apart_from=plan.files.checkpoint.own_folders)
    if save is not None:
        one, other = folder.resolve(), save.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise OutputError(
                f"The patch ({folder}) and the edited model ({save}) cannot lie in one another.",
                "Give -o and --save two folders side by side.",
            )


def default_folder(plan: Plan) -> Path:
    """Return `editkit-runs/<scorer or manipulator>-<recipe digest>[-N]`, never one that exists."""
    part = plan.recipe.towers[plan.towers[0]]
    stem = f"{(part.scorer or part.manipulator).spec.name}-{plan.recipe.digest}"
    return RUNS / first_free(stem, lambda name: (RUNS / name).exists())


def evaluate(
    evaluation: str = "safeground",
    *,
    model: str | Path | None = None,
    data: str | None = None,
    patches: Sequence[str | Path] = (),
    controls: bool = True,
    knowledge: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    similarities: str | Path | None = None,
    host: Host | None = None,
    stage: Stage = silent,
) -> Report:
    """Evaluate a model, patches of it and their controls; the result is the JSON object `editkit.eval/1`.

    Args:
        evaluation: `safeground`, `retrieval`, `zeroshot`, or any registered one.
        settings: recipe values such as `{"calibration.limit": 500, "compute.batch_size": 64}`.
        output: a new file for the report, for `editkit results` to find; by default it is only returned.
        similarities: a new Parquet file for every tuple's similarities, hits and ranks.

    Raises:
        EditkitError: the model, the data or a patch cannot be used, or a file cannot be written.
    """
    layers = [("argument", given({"model": _text(model), **data_layer(data)}))]
    place = _path(output)
    if place is not None:
        check_new_file(place)
    report = run_evaluation(
        evaluation,
        [*layers, ("settings", flatten(settings or {}))],
        host or default_host(),
        patches=[Path(patch) for patch in patches],
        options=options,
        controls=controls,
        knowledge=knowledge,
        similarities=_path(similarities),
        stage=stage,
    )
    if place is not None:
        save_report(report, place)
    return report


def _text(model: str | Path | None) -> str | None:
    return None if model is None else str(model)


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)
