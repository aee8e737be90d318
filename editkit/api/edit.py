"""Edit a model, or plan an edit, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit.api.bars import shown_by
from editkit.api.carry_out import Edited, carry_out
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.editing.plan import Plan, make_plan
from editkit.files.outputs import check_free
from editkit.files.paths import user_path
from editkit.progress import Stage, silent
from editkit.recipes.arguments import Arguments


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
    preserve: str | Sequence[str] | None = None,
    vision_tower: str | Path | None = None,
    text_tower: str | Path | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    save: str | Path | None = None,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> Edited:
    """Edit a model and write the patch; what is not given comes from the recipe, the adapter, or the defaults.

    Args:
        data: NAME or NAME:PATH.
        preserve: what pair fits leave as it is: data as NAME or NAME:PATH, one or several; "words" or "none".
        vision_tower: another model, whose vision tower takes this one's place; `text_tower` likewise.
        recipe: a YAML file, or as text the name of one (`editkit recipes list`).
        settings: any recipe value by dotted path, such as `{"scorer.aggregation": "means"}`.
        output: a new folder for the patch; by default one below `editkit-runs`.
        save: a new folder for the edited model.
        progress: show bars on standard error.

    Raises:
        EditkitError: anything that is wrong with the recipe, model, data or output; nothing is left behind.

    Example:
        >>> edited = edit("uwm", alpha=-1, tau=0.2, output="patch")
        >>> edited.patch.apply(model_folder, "edited-model")
    """
    places = [None if place is None else user_path(place) for place in (output, save)]
    check_free(*places)  # before the plan, which may take a while
    made = plan(
        scorer,
        selector=selector,
        manipulator=manipulator,
        alpha=alpha,
        tau=tau,
        model=model,
        data=data,
        targets=targets,
        preserve=preserve,
        vision_tower=vision_tower,
        text_tower=text_tower,
        recipe=recipe,
        settings=settings,
        host=host,
    )
    return carry_out(made, output=places[0], save=places[1], stage=shown_by(stage, progress=progress))


def plan(
    scorer: str | None = None,
    *,
    selector: str | None = None,
    manipulator: str | None = None,
    alpha: float | None = None,
    tau: float | None = None,
    model: str | Path | None = None,
    data: str | None = None,
    targets: Sequence[str] | None = None,
    preserve: str | Sequence[str] | None = None,
    vision_tower: str | Path | None = None,
    text_tower: str | Path | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    host: Host | None = None,
) -> Plan:
    """Return what `edit` with the same arguments would do: recipe, sites, data, memory. No weight is read.

    Raises:
        EditkitError: anything that is wrong with the recipe, model or data.

    Example:
        >>> [site.name for site in plan("uwm", tau=0.2, targets=["text:attn.out[0]"]).sites]
        ['text:attn.out[0]']
    """
    asked = Arguments(
        recipe=recipe,
        settings=settings or {},
        model=model,
        data=data,
        targets=targets,
        preserve=preserve,
        vision_tower=vision_tower,
        text_tower=text_tower,
        scorer=scorer,
        selector=selector,
        tau=tau,
        manipulator=manipulator,
        alpha=alpha,
    )
    return make_plan(asked.layers(), host or default_host())
