"""What is evaluated: the recipe that patches imply, and the base, the patches and their controls as variants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.data.tuples import TupleSet
from editkit.errors import ModelError, PatchError
from editkit.evals.controls import control_variants
from editkit.evals.encoder import Encoder
from editkit.files.outputs import first_free
from editkit.models.find import open_model
from editkit.models.variants import Variant
from editkit.patch.base_commit import at_base_commit, moved
from editkit.patch.patch import Patch
from editkit.patch.record_file import part_of
from editkit.progress import Stage
from editkit.recipes.layers import Layer
from editkit.recipes.recipe import Recipe, default_split, resolve

IMPLIED = "evaluation"
"""The origin of values that nobody set: the evaluation's defaults, and what patches imply."""

LoadedPatches = Sequence[tuple[Path, Patch]]
"""Patches with the folders they were read from."""


def evaluation_recipe(own: Layer, layers: Sequence[tuple[str, Layer]], patches: LoadedPatches, host: Host) -> Recipe:
    """Resolve a recipe: a patch says which model it belongs to, and each data set which split it is evaluated on.

    Args:
        own: the evaluation's defaults.
        layers: the user's, which win.

    Raises:
        RecipeError: a value is wrong.
        PatchError: the patches' records name different models, and the user names none.
    """
    implied: dict[str, Any] = {"calibration.limit": None, **own}
    if not any("model" in layer for _, layer in layers) and (source := _one_source(patches)):
        implied["model"] = source
    first = resolve([(IMPLIED, implied), *layers], host)
    split = default_split(first.data, "eval")
    return resolve([(IMPLIED, implied), ("data set", split), *layers], host)


def _one_source(patches: LoadedPatches) -> str | None:
    """Return the model that the patches' records name."""
    named = {path: patch.source for path, patch in patches if patch.source}
    identities = {part_of(patch.record, "model").get("identity") for _, patch in patches}
    if len(set(named.values())) > 1 and len(identities) > 1:
        raise PatchError(
            f"The patches were made from different models: {'; '.join(f'{p} from {s}' for p, s in named.items())}.",
            "Evaluate them one by one; or, if it is one model that lies in several places, name it: --model MODEL.",
        )
    return next(iter(named.values()), None)


def open_subject(recipe: Recipe, patches: LoadedPatches, host: Host) -> tuple[Adapter, ModelFiles]:
    """Open the model that is evaluated.

    Raises:
        ModelError: it cannot be opened; where no one asked for it by name, says whose record names it.
    """
    try:
        return open_model(recipe.model, host)
    except ModelError as error:
        naming = [str(path) for path, patch in patches if patch.source == recipe.model]
        if recipe.origins.get("model") != IMPLIED or not naming:
            raise
        raise ModelError(
            f"The record of patch {', '.join(naming)} names the model {recipe.model}. {error.problem}",
            "Say where that model is now: --model MODEL",
        ) from error


def evaluated_variants(
    patches: LoadedPatches, adapter: Adapter, files: ModelFiles, host: Host, stage: Stage, *, with_controls: bool
) -> list[Variant]:
    """Return the base, the patches, numbered where two have one name, and then the controls of all patches.

    Raises:
        PatchError: a patch belongs to another model.
    """
    variants = [Variant("base", {})]
    for path, patch in patches:
        with at_base_commit(patch.record, files.source, files.commit, "Add --model {} to the same command.".format):
            patch.require_base(files.checkpoint, called=path)
        name = path.resolve().name
        taken = {variant.name for variant in variants}
        variants.append(Variant(first_free(name, taken.__contains__), patch.changes, patch=str(path)))
    if not with_controls:
        return variants
    controls = []
    for edit, (path, patch) in zip(variants[1:], patches, strict=True):
        for control in control_variants(patch, str(path), adapter, files, host, stage):
            # with several patches each has controls of its own
            label = f"{control.name} ({edit.name})" if len(patches) > 1 else control.name
            controls.append(replace(control, name=label))
    return variants + controls


def notes_on_commits(patches: LoadedPatches, files: ModelFiles) -> list[str]:
    """Say of which patches the model's branch has moved on, to a commit with the same weights."""
    found = (moved(patch.record, files.source, files.commit) for _, patch in patches)
    return list(dict.fromkeys(one.note for one in found if one is not None))


def parts_of(variants: Sequence[Variant], encoder: Encoder) -> list[Variant]:
    """Return, of every edit of both towers and of its controls, the part in either tower: what one alone does."""
    both = {
        variant.patch
        for variant in variants
        if not variant.is_control and len([tower for tower in encoder.towers if encoder.tower_keys(tower, variant)]) > 1
    }
    parts = []
    for tower in encoder.towers:
        for variant in variants:
            if variant.patch is not None and variant.patch in both:
                changes = {key: variant.changes[key] for key in encoder.tower_keys(tower, variant)}
                name = f"{variant.name}, {tower} alone"
                parts.append(replace(variant, name=name, label=variant.name, changes=changes, tower=tower))
    return parts


def calibrated_tuples(patches: LoadedPatches) -> dict[str, Collection[str]]:
    """Return the digests of the tuples that each patch was calibrated on, as its record says."""
    return {str(path): patch.record.get("data", {}).get("tuples", ()) for path, patch in patches}


def warn_of_overlap(data: TupleSet, digests: dict[str, str], calibrated: Mapping[str, Collection[str]]) -> list[str]:
    """Say what was calibrated on tuples that are now evaluated: its numbers flatter it.

    Args:
        digests: of image files by path, which are hashed once; filled up.
    """
    here = set(data.digests(digests))
    shared = {what: len(here & set(tuples)) for what, tuples in calibrated.items()}
    return [
        f"{number} of the evaluated tuples also calibrated {what}: its numbers flatter it."
        for what, number in shared.items()
        if number
    ]
