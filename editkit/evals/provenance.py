"""What an evaluation's numbers depend on, as its report tells it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.libraries import versions
from editkit.patch.record_file import TENSORS
from editkit.reports.schema import ModelFacts, PatchFacts, RunFacts

if TYPE_CHECKING:
    from editkit.components.protocols import ModelFiles
    from editkit.components.spec import Options
    from editkit.patch.patch import Patch
    from editkit.recipes.recipe import Recipe


def describe_run(
    recipe: Recipe,
    files: ModelFiles,
    identity: str,
    patches: Sequence[tuple[Path, Patch]],
    options: Options,
    device: str,
) -> RunFacts:
    """Return a report's `run`; it holds no time and nothing that two equal evaluations differ in.

    Args:
        identity: of the base model's tensors.
        options: of the evaluation.
    """
    model = ModelFacts(source=recipe.model, family=files.family, identity=identity)
    if files.commit:
        model["commit"] = files.commit
    return RunFacts(
        model=model,
        patches=[
            PatchFacts(
                patch=str(folder),
                digest=patch.record["files"][TENSORS]["sha256"],
                recipe=patch.record.get("recipe"),
            )
            for folder, patch in patches
        ],
        data={"name": recipe.data.name, **recipe.data.options.model_dump(mode="json", exclude_defaults=True)},
        selection=recipe.calibration.model_dump(mode="json", exclude={"tokens"}),
        options=options.model_dump(mode="json"),
        precision=recipe.compute.precision,
        device=device,
        versions=versions(),
    )
