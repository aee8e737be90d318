"""Carry out a planned edit: make the patch, write it, and write the edited model if asked to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from editkit.api.runs import RUNS
from editkit.editing.engine import make_patch
from editkit.editing.plan import Plan, bring_weights
from editkit.errors import OutputError
from editkit.files.outputs import check_free, first_free
from editkit.models.memory import free_on_oom
from editkit.patch.card import write_card
from editkit.patch.patch import Applied, Patch
from editkit.progress import Stage, silent


@dataclass(frozen=True)
class Edited:
    """A finished edit: the patch, its folder, the edited model, if it was saved, and which observers failed."""

    plan: Plan = field(repr=False)
    patch: Patch
    folder: Path
    saved: Applied | None
    notes: tuple[str, ...] = ()


def carry_out(plan: Plan, *, output: Path | None = None, save: Path | None = None, stage: Stage = silent) -> Edited:
    """Make a plan's patch, write it, and write the edited model if asked to.

    Args:
        output: a new folder for the patch; by default one below `editkit-runs`.
        save: a new folder for the edited model.

    Raises:
        EditkitError: data, weights or the choice turned out unusable, or a place cannot be written.
    """
    _check_places(plan, output or default_folder(plan), save)
    plan = bring_weights(plan, stage)
    patch = free_on_oom(partial(make_patch, plan, stage))
    folder = output or default_folder(plan)  # asked again: another run may have taken the name meanwhile
    patch.save(folder, write_card(patch.record, folder.name))
    saved = None
    if save is not None:
        saved = patch.apply(
            plan.files.checkpoint, save, stage=stage, beside=partial(plan.adapter.save_beside, plan.files)
        )
    return Edited(plan, patch, folder, saved, tuple(plan.host.finished(patch.record, folder)))


def _check_places(plan: Plan, folder: Path, save: Path | None) -> None:
    """Refuse, before anything is computed, places that would be refused once half of the work is on the disk."""
    check_free(folder, save, apart_from=plan.files.checkpoint.own_folders)
    if save is not None:
        one, other = folder.resolve(), save.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise OutputError(
                f"The patch ({folder}) and the edited model ({save}) cannot be one folder, or one inside the other.",
                "Give -o and --save two folders side by side.",
            )


def default_folder(plan: Plan) -> Path:
    """Return `editkit-runs/<scorer or manipulator>-<recipe digest>[-N]`, never one that exists."""
    part = plan.recipe.towers[plan.towers[0]]
    stem = f"{(part.scorer or part.manipulator).spec.name}-{plan.recipe.digest}"
    return RUNS / first_free(stem, lambda name: (RUNS / name).exists())
