"""Rewrites a checkpoint: verify all of it, copy each shard, overwrite the changed elements in place, verify again.

Memory is that of one tensor per thread, whatever the checkpoint's size; shards without a change are copied, not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from editkit.errors import ModelError, PatchError
from editkit.files.checkpoint import Checkpoint, over_tensors
from editkit.files.outputs import check_free, copy_file, new_folder
from editkit.files.shard import hash_bits, hash_bytes, read_bits
from editkit.patch.change import Change
from editkit.progress import Advance, Stage

WeightsState = Literal["base", "edited", "other", "damaged"]


@dataclass(frozen=True)
class Rewrite:
    """What a rewrite starts from and arrives at: sha256 of every touched tensor before and after, and of the rest."""

    action: Literal["apply", "revert"]
    changes: Mapping[str, Change]
    before: Mapping[str, str]
    after: Mapping[str, str]
    rest: str
    tensors: int | None


@dataclass(frozen=True)
class Applied:
    """What was written: the folder, its weight files, how much changed, and which files of the model were left out."""

    output: Path
    files: tuple[str, ...]
    tensors: int
    weights: int
    left_out: tuple[str, ...]


def rewrite(
    target: Rewrite,
    checkpoint: Checkpoint,
    output: Path,
    *,
    allow_other_tensors: bool,
    stage: Stage,
    beside: Callable[[Path], None] | None = None,
) -> Applied:
    """Write a copy of `checkpoint` with the target's changes to the new folder `output`; `beside` adds files to it.

    Raises:
        PatchError: the checkpoint is not in the state the target starts from. Nothing was written then.
        OutputError: the output exists, lies in the model's folder, or cannot be written.
    """
    check_free(output, apart_from=checkpoint.own_folders)
    with stage("verifying tensors", len(checkpoint.tensors)) as advance:
        verify(target, checkpoint, allow_other_tensors=allow_other_tensors, advance=advance)
    with new_folder(output, apart_from=checkpoint.own_folders) as folder:
        for name in checkpoint.others:
            copy_file(checkpoint.root / name, folder / name)
        with stage("writing shards", len(checkpoint.files)) as advance:
            for name in checkpoint.files:  # one by one: the disk is the limit, parallel copies only compete for it
                copy_file(checkpoint.root / name, folder / name)
                advance(1)
        over_tensors(lambda key: _overwrite(target, checkpoint, folder, key), target.changes, checkpoint.tensors)
        if beside is not None:
            beside(folder)
        if checkpoint.index:  # last: until it is there, a loader sees no model
            copy_file(checkpoint.root / checkpoint.index, folder / checkpoint.index)
    weights = sum(change.count for change in target.changes.values())
    return Applied(output, checkpoint.files, len(target.changes), weights, checkpoint.left_out)


def verify(
    target: Rewrite, checkpoint: Checkpoint, *, allow_other_tensors: bool, advance: Advance | None = None
) -> None:
    """Check every touched tensor bit by bit, and the digest of all others.

    Raises:
        PatchError: names the first tensor that does not fit, and says whether the patch is applied already.
    """
    for change in target.changes.values():
        _verify_kind(change, checkpoint)
    states = over_tensors(lambda key: _state(target, checkpoint, key), target.changes, checkpoint.tensors, advance)
    counts = Counter(states.values())
    if counts["edited"] == len(states):
        raise _already(target, checkpoint)
    if wrong := sorted(key for key, state in states.items() if state in ("other", "edited")):
        more = f" (nor do {len(wrong) - 1} more of {len(states)})" if len(wrong) > 1 else ""
        raise PatchError(
            f"Tensor '{wrong[0]}' in {checkpoint.root} does not hold the weights this patch "
            f"{'was made from' if target.action == 'apply' else 'made'}{more}.",
            "Use exactly that checkpoint, or make a new patch for this one with `editkit edit`.",
        )
    if spoilt := sorted(key for key, state in states.items() if state == "damaged"):
        raise PatchError(
            f"The patch is damaged: its change of '{spoilt[0]}' does not lead from one recorded state to the other.",
            "Copy the patch folder again; a patch cannot be edited by hand.",
        )
    if not allow_other_tensors and checkpoint.identity(without=target.changes, done=advance) != target.rest:
        raise _other_rest(target, checkpoint)


def _verify_kind(change: Change, checkpoint: Checkpoint) -> None:
    info = checkpoint.tensors.get(change.key)
    if info is None:
        raise PatchError(
            f"{checkpoint.root} has no tensor '{change.key}', which this patch changes.",
            "Use the checkpoint the patch was made from, in the same library's format.",
        )
    if info.dtype != change.dtype:
        raise PatchError(
            f"Tensor '{change.key}' is {info.dtype} in {checkpoint.root}, but the patch was made from {change.dtype}.",
            f"Use the {change.dtype} checkpoint, or make a new patch for this one with `editkit edit`.",
        )
    if info.shape != change.shape:
        raise PatchError(
            f"Tensor '{change.key}' has the shape {list(info.shape)} in {checkpoint.root}, in the patch "
            f"{list(change.shape)}.",
            "Use the checkpoint the patch was made from.",
        )


def _state(target: Rewrite, checkpoint: Checkpoint, key: str) -> WeightsState:
    bits, change = checkpoint.read(key).reshape(-1), target.changes[key]
    digest = hash_bits(bits)
    if digest != target.before[key]:
        return "edited" if digest == target.after[key] else "other"
    leads_there = change.fits(bits) and hash_bits(change.made(bits)) == target.after[key]
    return "base" if leads_there else "damaged"


def _already(target: Rewrite, checkpoint: Checkpoint) -> PatchError:
    if target.action == "apply":
        return PatchError(
            f"This patch is already applied to {checkpoint.root}.",
            "Nothing to do; `editkit revert` gives back the weights from before the edit.",
        )
    return PatchError(
        f"{checkpoint.root} holds the weights from before the edit: there is nothing to revert.",
        "Give the folder that `editkit apply` or `editkit edit --save` wrote.",
    )


def _other_rest(target: Rewrite, checkpoint: Checkpoint) -> PatchError:
    count = len(checkpoint.tensors)
    counts = f" ({count} tensors here, {target.tensors} there)" if target.tensors not in (None, count) else ""
    return PatchError(
        f"Tensors of {checkpoint.root} that this patch does not touch differ from those of its base model{counts}.",
        "Use the checkpoint the patch was made from, or pass --allow-other-tensors to accept the difference.",
    )


def _overwrite(target: Rewrite, checkpoint: Checkpoint, folder: Path, key: str) -> None:
    """Change one tensor in the copy, then read it back: only the recorded state may leave this function."""
    info = checkpoint.tensors[key]
    after = target.changes[key].made(read_bits(folder, info))
    with (folder / info.file).open("rb+", buffering=0) as stream:
        stream.seek(info.start)
        left = after.data.cast("B")
        while left:
            left = left[stream.write(left) or 0 :]
    if hash_bytes(folder, info) != target.after[key]:
        raise ModelError(
            f"Tensor '{key}' was not written as recorded; {checkpoint.root} changed meanwhile, or the disk is failing.",
            "Run the command again while nothing else writes to the model.",
        )
