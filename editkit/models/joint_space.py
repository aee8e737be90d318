"""Whether a model's images and captions share a space, so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence

from editkit.components.protocols import ModelFiles
from editkit.components.site import TOWERS, Site, towers_of
from editkit.errors import ModelError


def require_joint_space(files: ModelFiles, sites: Sequence[Site], why: str) -> None:
    """Check that a model has both towers, and one space for their embeddings.

    Raises:
        ModelError: it does not; the message begins with `why` they are needed.
    """
    if reason := why_no_joint_space(files, sites):
        raise ModelError(
            f"{why}, which {files.source} does not allow: {reason}.",
            "Choose a method that looks at one modality (`uwm`); judge the edit by another evaluation.",
        )


def why_no_joint_space(files: ModelFiles, sites: Sequence[Site]) -> str:
    """Return why a model's images and captions cannot be compared; empty where they can."""
    lacking = [tower for tower in TOWERS if tower not in towers_of(sites)]
    return files.no_joint_space or (f"it has no {lacking[0]} tower" if lacking else "")
