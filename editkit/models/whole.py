"""Every floating tensor of a checkpoint, or of one tower, as a site: what `all`, `text:all` and `vision:all` name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

from editkit.components.protocols import Adapter, ModelFiles
from editkit.components.site import WHOLE, Site, Tower, towers_of
from editkit.errors import RecipeError, SiteError
from editkit.files.checkpoint import Checkpoint

FLOATING = ("F64", "F32", "F16", "BF16")


def match_whole(targets: Sequence[str], adapter: Adapter, files: ModelFiles, sites: Sequence[Site]) -> list[Site]:
    """Return the tensors that targets name of which at least one is of `WHOLE`.

    Args:
        sites: all of the model's, which say what towers it has.

    Raises:
        RecipeError: another target stands beside `all`, or a site beside a whole tower.
        SiteError: the model has no such tower.
    """
    if "all" in targets and len(set(targets)) > 1:
        raise RecipeError(
            "Target 'all' takes every tensor, so another target beside it would do nothing.", "Give one or the other."
        )
    if apart := [target for target in targets if target not in WHOLE]:
        whole = next(target for target in targets if target in WHOLE)
        raise RecipeError(
            f"Target '{whole}' takes whole tensors and '{apart[0]}' linear maps, which one edit cannot do together.",
            "Make two patches: edit one, and the edited model (--save) after it.",
        )
    towers = towers_of(sites)
    wanted: list[Tower] = []
    for target in dict.fromkeys(targets):
        if target != "all" and WHOLE[target][0] not in towers:
            raise SiteError(f"Target '{target}': {files.source} has no such tower.", f"It has: {', '.join(towers)}.")
        wanted += [tower for tower in WHOLE[target] if tower in towers]
    owned = {tower: adapter.tensors(files, tower).values() for tower in towers if tower in wanted}
    return whole_tensors(files.checkpoint, owned, rest=towers[0] if "all" in targets else None)


def whole_tensors(
    checkpoint: Checkpoint, owned: Mapping[Tower, Collection[str]], *, rest: Tower | None = None
) -> list[Site]:
    """Return one site for each floating tensor, seen as a matrix: its first axis by all others.

    Args:
        owned: checkpoint keys by tower; a tensor of both belongs to the first.
        rest: the tower along with which goes what belongs to none (CLIP's logit scale, CoCa's decoder); None: it is
            left out.
    """
    found = []
    for key, shape in shapes_of(checkpoint).items():
        tower = next((tower for tower, keys in owned.items() if key in keys), rest)
        if tower is not None:
            rows = shape[0] if len(shape) > 1 else 1
            found.append(Site(tower, 0, "tensor", "", key, (rows, prod(shape) // rows)))
    return sorted(found, key=lambda site: (site.tower, site.key))


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint's floating tensors, empty ones left out."""
    tensors = checkpoint.tensors.items()
    return {key: info.shape for key, info in tensors if info.dtype in FLOATING and prod(info.shape) > 0}
