"""Another checkpoint that a manipulator takes weights from: which of its tensors stand for which of this one's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from editkit.components.host import Host
from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import Site, Tower, towers_of
from editkit.errors import ModelError
from editkit.files.bits import to_tensor
from editkit.files.checkpoint import Checkpoint
from editkit.models.find import open_model
from editkit.models.site_tensors import weight_of
from editkit.models.whole import shapes_of
from editkit.progress import Stage

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class OtherCheckpoint:
    """Another model's weights, and its key for each key of this checkpoint that has a counterpart there."""

    checkpoint: Checkpoint
    keys: Mapping[str, str]

    def identity(self) -> str:
        """Return the sha256 (hex) of all its weights."""
        return self.checkpoint.identity()

    def weight(self, site: Site) -> Tensor:
        """Return what stands there for a site's weight, [O, I] in its own dtype."""
        key = self.keys[site.key]
        return weight_of(to_tensor(self.checkpoint.read(key), self.checkpoint.info(key).dtype, key), site)


def same_architecture(source: str, files: ModelFiles, host: Host, stage: Stage | None = None) -> OtherCheckpoint:
    """Open a checkpoint whose floating tensors are, by key and shape, those of `files`.

    Args:
        stage: given, its weights are brought to this disk. None: only headers are read.

    Raises:
        ModelError: it cannot be opened, or they are not.
    """
    _, other = open_model(source, host, stage)
    mine, theirs = shapes_of(files.checkpoint), shapes_of(other.checkpoint)
    if differing := _differing(mine, theirs):
        raise ModelError(
            f"{source} is of another architecture than {files.source}: {differing}.",
            "Blend with a checkpoint of the same architecture, in the same library's format.",
        )
    return OtherCheckpoint(other.checkpoint, {key: key for key in files.checkpoint.tensors})


def same_tower(
    source: str, tower: Tower, adapter: Adapter, files: ModelFiles, host: Host, stage: Stage | None = None
) -> OtherCheckpoint:
    """Open a model whose tower is that of `files`, however the two checkpoints wrap it and whatever else they hold.

    Tensors are matched by the names that `Adapter.tensors` gives. What only one of the two models has besides (by the
    first part of the name: LLaVA's `multi_modal_projector`, CLIP's `visual_projection`) has no counterpart.

    Raises:
        ModelError: it cannot be opened, has no such tower, or one with other tensors.
    """
    other_adapter, other = open_model(source, host, stage)
    has_it = tower in towers_of(other_adapter.sites(other))
    names = adapter.tensors(files, tower), other_adapter.tensors(other, tower) if has_it else {}
    mine, theirs = _named(names[0], files.checkpoint), _named(names[1], other.checkpoint)
    shared = {_part(name) for name in mine} & {_part(name) for name in theirs}
    mine, theirs = ({name: held[name] for name in held if _part(name) in shared} for held in (mine, theirs))
    differing = _differing(mine, theirs) if shared else "not one part of it has the same name in both"
    if differing:
        raise ModelError(
            f"{source} cannot lend {files.source} its {tower} tower: {differing}.",
            f"Give a model whose {tower} tower has the same architecture.",
        )
    return OtherCheckpoint(other.checkpoint, {names[0][name]: names[1][name] for name in mine})


def _named(names: Mapping[str, str], checkpoint: Checkpoint) -> Shapes:
    shapes = shapes_of(checkpoint)
    return {name: shapes[key] for name, key in names.items() if key in shapes}


def _part(name: str) -> str:
    return name.partition(".")[0]


def _differing(mine: Shapes, theirs: Shapes) -> str:
    """Say which tensor is the first that differs; empty where none does."""
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if not names:
        return ""
    here, there = (str(list(held[names[0]])) if names[0] in held else "missing" for held in (mine, theirs))
    return f"{names[0]} is {there} there and {here} here (tensors that differ: {len(names)})"
