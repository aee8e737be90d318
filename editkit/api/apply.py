"""Apply and revert patches, from Python: model files in, new model files out, without torch."""

from __future__ import annotations

from pathlib import Path
from shlex import join

from editkit.api.bars import shown_by
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.models.find import weights_of
from editkit.patch.base_commit import at_base_commit, moved
from editkit.patch.patch import Applied, Patch
from editkit.progress import Stage, silent, tell


def apply(
    patch: str | Path | Patch,
    model: str | Path,
    output: str | Path,
    *,
    allow_other_tensors: bool = False,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> Applied:
    """Write a copy of a model with a patch applied; the weights must be exactly those that the patch was made from.

    Args:
        patch: a patch, or the folder of one.
        model: a folder, a file of weights, a hub id, or whatever else `edit` takes; what is not on this disk is
            downloaded, and a torch archive converted.
        output: a folder that does not exist yet, outside the model's.
        allow_other_tensors: accept a model that differs in tensors that the patch does not touch.
        progress: show bars on standard error.

    Raises:
        EditkitError: the patch is damaged or was made from other weights, the model cannot be read, or the output
            exists or cannot be written; nothing is left behind.

    Example:
        >>> applied = apply("patch", "model", "edited")
        >>> print(f"{applied.weights} weights in {applied.tensors} tensors")
    """
    shown, loaded = shown_by(stage, progress=progress), _loaded(patch)
    found = weights_of(model, host or default_host(), loaded.changes, shown)
    named = patch if isinstance(patch, (str, Path)) else "PATCH"

    def remedy(pinned: str) -> str:
        return f"Use that commit: {join(('editkit', 'apply', str(named), pinned, '-o', str(output)))}"

    with at_base_commit(loaded.record, str(model), found.commit, remedy):
        applied = loaded.apply(
            found.checkpoint, output, allow_other_tensors=allow_other_tensors, stage=shown, beside=found.save_beside
        )
    if other := moved(loaded.record, str(model), found.commit):
        tell(shown, other.note)
    return applied


def revert(
    patch: str | Path | Patch,
    model: str | Path,
    output: str | Path,
    *,
    allow_other_tensors: bool = False,
    host: Host | None = None,
    progress: bool = False,
    stage: Stage = silent,
) -> Applied:
    """Write a copy of a model, to which a patch was applied, with every byte as it was before.

    Args:
        patch: see `apply`.
        model: the edited model.

    Raises:
        EditkitError: see `apply`; or the model does not hold what the patch made.

    Example:
        >>> revert("patch", "edited", "restored").output
        PosixPath('restored')
    """
    shown, loaded = shown_by(stage, progress=progress), _loaded(patch)
    found = weights_of(model, host or default_host(), loaded.changes, shown)
    return loaded.revert(found.checkpoint, output, allow_other_tensors=allow_other_tensors, stage=shown)


def _loaded(patch: str | Path | Patch) -> Patch:
    return patch if isinstance(patch, Patch) else Patch.load(patch)
