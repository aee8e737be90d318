"""What is written beside every result: the recipe, what it ran on, and what was chosen where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from editkit.components.site import Site
from editkit.components.spec import Spec
from editkit.libraries import versions

if TYPE_CHECKING:
    from editkit.editing.plan import Plan
    from editkit.editing.run import Run

SCHEMA = "editkit.patch-record/1"
NEARLY_WHOLE = 0.9
"""A column or row counts as chosen whole from this share of it on."""


def describe_site(site: Site, mask: Tensor, scores: Tensor | None, weight: Tensor) -> dict[str, Any]:
    """Describe the choice at one site; shares and correlations are fractions.

    Args:
        mask: [O, I] bool, what was selected.
        scores: [O, I] float32, or None where nothing was scored.
        weight: [O, I] in the checkpoint's dtype.

    Returns:
        count and share of the selected weights; mass, their share of the positive scores; negative, the share of
        negative scores in the sum of |score|; columns and rows, the share of selected weights that lie in columns
        and rows of which nine tenths or more are selected; weight_correlation, Pearson's between mask and |W|.
        Where the site lies in the tensor `key`: tensor_rows, the first row and the one after the last (None: all of
        them), and transposed, whether they are stored [I, O].
    """
    count = int(mask.sum())
    description: dict[str, Any] = {
        "site": site.name,
        "tower": site.tower,
        "role": site.role,
        "layer": site.layer,
        "key": site.key,
        "shape": list(site.shape),
        "tensor_rows": None if site.rows is None else list(site.rows),
        "transposed": site.transposed,
        "count": count,
        "share": count / site.size,
        "columns": _whole(mask, 0),
        "rows": _whole(mask, 1),
        "weight_correlation": _correlation(mask, weight),
    }
    if scores is not None:
        held = scores.cpu().double()
        positive = held.clamp(min=0)
        total, absolute = float(positive.sum()), float(held.abs().sum())
        description["mass"] = float(positive[mask].sum()) / total if total else 0.0
        description["negative"] = (absolute - total) / absolute if absolute else 0.0
    return description


def _whole(mask: Tensor, axis: int) -> float:
    selected = mask.sum(dim=axis)
    whole = selected >= NEARLY_WHOLE * mask.shape[axis]
    return float(selected[whole].sum()) / max(1, int(mask.sum()))


def _correlation(mask: Tensor, weight: Tensor) -> float:
    chosen, magnitude = mask.double().flatten(), weight.abs().double().flatten()
    spread = chosen.std(correction=0) * magnitude.std(correction=0)
    if not bool(spread > 0):
        return 0.0
    covariance = ((chosen - chosen.mean()) * (magnitude - magnitude.mean())).mean()
    return float(covariance / spread)


def describe_edit(run: Run, sites: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a patch's record, all but the digests of the weights it belongs to (`Patch.create` adds them)."""
    plan = run.plan
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": plan.recipe.describe(),
        "recipe_digest": plan.recipe.digest,
        "model": {
            "source": _lasting(plan),
            "family": plan.files.family,
            "identity": run.identity,
            "settings": plan.files.settings,
            **({"commit": plan.files.commit} if plan.files.commit else {}),
            **({"no_joint_space": plan.files.no_joint_space} if plan.files.no_joint_space else {}),
            "notes": list(plan.files.notes),
        },
        "towers": {"edited": list(plan.towers), "not_edited": list(plan.untouched_towers)},
        "sites": list(sites),
        "dropped": {tower: dropped.describe() for tower, dropped in run.dropped.items()},
        "degenerate": _totals(run.notes),
        "processing": run.processing,
        "versions": versions(),
        "components": plan.host.origins(_components(plan)),
        "device": run.device,
    }
    if run.batches.halved:
        record["out_of_memory"] = run.batches.halved
    for tower in plan.towers:
        if others := [other.identity() for other in plan.other_checkpoints(tower, run.stage).values()]:
            one = plan.recipe.towers[tower].other_checkpoint is not None
            record.setdefault("other_checkpoints", {})[tower] = others[0] if one else others
    if files := sorted({file for tower in plan.towers for file in plan.recipe.towers[tower].manipulator.asks("reads")}):
        record["read"] = {file: sha256(Path(file).read_bytes()).hexdigest() for file in files}
    if plan.data is not None:
        record["data"] = {
            "name": plan.data.name,
            "split": plan.data.split,
            "n": len(plan.data.items),
            "whole": sum(item.has_images and item.has_texts for item in plan.data.items),
            "fingerprint": plan.data.fingerprint(run.digests),
            "tuples": list(plan.data.digests(run.digests)),
            "left_out": [{"id": entry.id, "reason": entry.reason} for entry in plan.data.left_out],
        }
    if plan.preserved:
        record["preserved"] = {
            **plan.preserved.describe(),
            "fingerprint": plan.preserved.fingerprint(run.digests),
            **({"warnings": list(plan.preserved.warnings)} if plan.preserved.warnings else {}),
        }
    return record


def _lasting(plan: Plan) -> str:
    """Return the model's name as it holds in any folder: PATH and PREFIX:NAME@PATH with the absolute path."""
    source = plan.recipe.model
    if source in plan.host.family_of(plan.adapter).prefixes:  # whatever lies here under this name
        return source
    is_path = Path(source).expanduser().exists()
    head, at, path = ("", "", source) if is_path else source.rpartition("@")
    place = Path(path).expanduser()
    return f"{head}{at}{place.absolute()}" if is_path or (":" in head and place.exists()) else source


def _components(plan: Plan) -> Iterator[Spec]:
    """Yield the components that an edit used."""
    for tower in plan.towers:
        part = plan.recipe.towers[tower]
        yield from (choice.spec for choice in (*plan.scorers(tower).values(), part.selector, part.manipulator))
    if plan.data is not None:
        yield plan.recipe.data.spec
        yield from (choice.spec for choice in plan.recipe.preserve.values() if choice is not None)
    yield plan.host.family_of(plan.adapter)


def _totals(notes: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for counts in notes.values():
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    return totals
