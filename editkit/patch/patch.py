"""The patch: an edit as a value to save, apply and revert.

    patch = Patch.load("runs/uwm")
    patch.apply("clip-vit-large-patch14", "edited")
    patch.revert("edited", "restored")              # every byte of every shard as before

Numpy only. The format is described in docs/patch-format.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from editkit.errors import ModelError, PatchError
from editkit.files.checkpoint import Checkpoint, over_tensors
from editkit.files.outputs import new_folder
from editkit.files.paths import user_path
from editkit.files.shard import Bits, TensorInfo, hash_bits, read_bits, read_header, write_shard
from editkit.files.weights import open_any_weights
from editkit.files.whole_text import json_text
from editkit.patch.change import Change
from editkit.patch.provenance import add_provenance, remove_provenance
from editkit.patch.record_file import CARD, FORMAT, RECORD, TENSORS, damaged, file_facts, part_of, read_record
from editkit.patch.rewrite import Applied, Rewrite, rewrite, verify
from editkit.progress import Stage, silent

__all__ = ["Applied", "Change", "Patch"]

_INDEX_NAMES = {4: "U32", 8: "U64"}


@dataclass(frozen=True)
class Patch:
    """An edit: the changes by tensor, and the record of how they came about and of the weights they belong to."""

    changes: dict[str, Change]
    record: dict[str, Any]

    def __repr__(self) -> str:
        """Say how much it changes, not what."""
        return f"Patch({sum(one.count for one in self.changes.values()):,} weights in {len(self.changes)} tensors)"

    @classmethod
    def create(
        cls,
        checkpoint: Checkpoint,
        changes: Mapping[str, Change] | Iterable[Change],
        record: Mapping[str, Any],
    ) -> Patch:
        """Bind changes to the checkpoint they were made from; reads all of it once, to take its digests.

        Raises:
            PatchError: there is no change, or one was not made from this checkpoint.
        """
        given = list(changes.values() if isinstance(changes, Mapping) else changes)
        by_key = {change.key: change for change in sorted(given, key=lambda change: change.key)}
        if not by_key:
            raise PatchError(
                f"The edit changes no weight of {checkpoint.root}.", "Select more weights, or another manipulator."
            )
        touched = over_tensors(lambda key: _touched(checkpoint, by_key[key]), by_key, checkpoint.tensors)
        base = {
            "tensors": len(checkpoint.tensors),
            "rest": checkpoint.identity(without=by_key),
            "touched": {key: touched[key] for key in by_key},
        }
        return cls(by_key, {"format": FORMAT, **deepcopy(dict(record)), "base": base})

    @classmethod
    def load(cls, folder: str | Path) -> Patch:
        """Read a patch and check all of it: digest, names, sorted indices in range, equally long columns.

        Raises:
            PatchError: no patch, another format, or a damaged one.
        """
        folder = _path(folder)
        record = read_record(folder)
        try:
            tensors = read_header(folder / TENSORS, TENSORS)
        except ModelError as error:
            raise damaged(folder, error.problem) from error
        touched = record["base"]["touched"]
        changes = {key: _read_change(folder, key, touched[key], tensors) for key in sorted(touched)}
        parts = sum(2 if change.index is None else 3 for change in changes.values())
        if not changes or parts != len(tensors):
            raise damaged(folder, f"{TENSORS} holds other tensors than {RECORD} lists")
        return cls(changes, record)

    def save(self, folder: str | Path, card: str) -> None:
        """Write patch.safetensors, record.json and README.md (the model card) into a new folder.

        Raises:
            OutputError: the folder exists or cannot be written.
        """
        columns: list[tuple[str, str, tuple[int, ...], Bits]] = []
        for key, change in self.changes.items():
            shape = change.shape if change.index is None else change.before.shape
            columns += [(f"before:{key}", change.dtype, shape, change.before)]
            columns += [(f"after:{key}", change.dtype, shape, change.after)]
            if change.index is not None:
                columns += [(f"index:{key}", _INDEX_NAMES[change.index.itemsize], change.index.shape, change.index)]
        with new_folder(_path(folder)) as made:
            write_shard(made / TENSORS, columns, {"format": FORMAT})
            (made / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
            record = {**self.record, "files": {TENSORS: file_facts(made / TENSORS)}}
            (made / RECORD).write_text(json_text(record, indent=2) + "\n", encoding="utf-8")

    def apply(
        self,
        model: str | Path | Checkpoint,
        output: str | Path,
        *,
        allow_other_tensors: bool = False,
        stage: Stage = silent,
        beside: Callable[[Path], None] | None = None,
    ) -> Applied:
        """Write an edited copy of `model` to the new folder `output`, with a card that says what it is (EDITKIT.md).

        Everything is verified before anything is written; on any failure nothing is left behind.

        Args:
            model: a model folder, a safetensors file, a hub id, or a checkpoint that is open already.
            output: a folder that does not exist yet, outside the model's.
            allow_other_tensors: accept a model whose untouched tensors are not those of the patch's base.
            stage: told of the progress.
            beside: writes more files into the folder before it appears under its name.

        Raises:
            PatchError: the weights are not those the patch was made from, or are edited already.
            ModelError: the model cannot be read.
            OutputError: the output exists or cannot be written.
        """

        def finish(folder: Path) -> None:
            if beside is not None:
                beside(folder)
            add_provenance(folder, self.record, sum(change.count for change in self.changes.values()))

        checkpoint, place = self._open(model), _path(output)
        target = self._forward()
        return rewrite(target, checkpoint, place, allow_other_tensors=allow_other_tensors, stage=stage, beside=finish)

    def revert(
        self,
        model: str | Path | Checkpoint,
        output: str | Path,
        *,
        allow_other_tensors: bool = False,
        stage: Stage = silent,
    ) -> Applied:
        """Write a copy of the edited `model` with the edit undone: `apply` with the columns swapped."""
        checkpoint, place = self._open(model), _path(output)
        beside = partial(remove_provenance, record=self.record)
        target = self._back()
        return rewrite(target, checkpoint, place, allow_other_tensors=allow_other_tensors, stage=stage, beside=beside)

    def require_base(self, checkpoint: Checkpoint, *, called: object = "") -> None:
        """Check that the patch was made from these very weights; writes nothing.

        Args:
            called: what errors call the patch, where it is one of several: its folder.

        Raises:
            PatchError: as `apply` would.
        """
        try:
            verify(self._forward(), checkpoint, allow_other_tensors=False)
        except PatchError as error:
            if not called:
                raise
            made = f", by its record made from {self.source}," if self.source else ""
            raise PatchError(
                f"Patch {called}{made} does not fit {checkpoint.root}: {error.problem}",
                "Use the checkpoint the patch was made from; patches of different models go one by one.",
            ) from error

    @property
    def source(self) -> str | None:
        """The model that the record names; None where another tool wrote none."""
        named = part_of(self.record, "model").get("source")
        return named if isinstance(named, str) else None

    def _open(self, model: str | Path | Checkpoint) -> Checkpoint:
        return model if isinstance(model, Checkpoint) else open_any_weights(model, self.changes).here()

    def _forward(self) -> Rewrite:
        return Rewrite("apply", self.changes, self._digests("before"), self._digests("after"), *self._rest())

    def _back(self) -> Rewrite:
        back = {key: change.reversed() for key, change in self.changes.items()}
        return Rewrite("revert", back, self._digests("after"), self._digests("before"), *self._rest())

    def _digests(self, state: str) -> dict[str, str]:
        return {key: self.record["base"]["touched"][key][state] for key in self.changes}

    def _rest(self) -> tuple[str, int | None]:
        return self.record["base"]["rest"], self.record["base"].get("tensors")


def _path(place: str | Path) -> Path:
    return user_path(place)


def _touched(checkpoint: Checkpoint, change: Change) -> dict[str, Any]:
    """The base's entry for one change: what the whole tensor was and becomes."""
    info, bits = checkpoint.info(change.key), checkpoint.read(change.key)
    if (info.dtype, info.shape) != (change.dtype, change.shape) or not change.fits(bits):
        raise PatchError(
            f"The change of '{change.key}' was not made from {checkpoint.root}.",
            "Make the patch from the checkpoint that was edited.",
        )
    return {
        "dtype": info.dtype,
        "shape": list(info.shape),
        "changed": change.count,
        "before": hash_bits(bits),
        "after": hash_bits(change.made(bits)),
    }


def _read_change(folder: Path, key: str, entry: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> Change:
    index, before, after = (tensors.get(f"{part}:{key}") for part in ("index", "before", "after"))
    if before is None or after is None:
        raise damaged(folder, f"{TENSORS} does not hold the change of '{key}'")
    if index is not None and (index.dtype not in _INDEX_NAMES.values() or len(index.shape) != 1):
        raise damaged(folder, f"the index of '{key}' is no list of positions")
    if {before.dtype, after.dtype} != {entry["dtype"]}:
        raise damaged(folder, f"the change of '{key}' is not in {entry['dtype']}")
    try:
        places = read_bits(folder, index) if index else None
        columns = read_bits(folder, before).reshape(-1), read_bits(folder, after).reshape(-1)
        change = Change(key, entry["dtype"], tuple(entry["shape"]), places, *columns)
    except ModelError as error:
        raise damaged(folder, error.problem) from error
    if problem := change.problem():
        raise damaged(folder, f"in the change of '{key}', {problem}")
    return change
