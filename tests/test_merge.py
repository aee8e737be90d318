"""Merging what several checkpoints changed: averages and TIES, against loops over weights from the paper's steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from blends import same_bits, tensors
from command_line import as_error, done, run
from manipulator_samples import EVERY_DTYPE, EVERY_SHAPE, build, manipulate, sample
from models import tiny_clip
from tiny_checkpoints import digests, listing
from torch import Tensor

from editkit.errors import ModelError, RecipeError
from editkit.files.checkpoint import Checkpoint


def others(shape: tuple[int, int], count: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [sample(shape, dtype=dtype, seed=seed + 1).weight for seed in range(count)]


def merged(made: Any, held: Sequence[Tensor], *, mask: Tensor | None = None, **options: Any) -> Tensor:
    context = {"other_checkpoints": [{made.site: one} for one in held]}
    names = [f"model-{number}" for number in range(len(held))]
    new = manipulate("merge", made, mask=mask, bias=made.bias, context=context, models=names, **options)
    assert set(new) == {"weight"}
    return new["weight"]


def ties_by_hand(weight: Tensor, held: Sequence[Tensor], density: float) -> list[list[float]]:
    """Trim, elect, merge, one weight at a time."""
    kept: list[dict[int, float]] = []
    for other in held:
        change = [(float(b) - float(a)) for a, b in zip(weight.flatten(), other.flatten(), strict=True)]
        order = sorted(range(len(change)), key=lambda place: (-abs(change[place]), place))
        kept.append({place: change[place] for place in order[: max(1, int(density * len(change)))]})
    new = []
    for place, value in enumerate(weight.flatten().tolist()):
        moves = [one.get(place, 0.0) for one in kept]
        total = sum(moves)
        agreeing = [move for move in moves if move * total > 0]
        new.append(value + (sum(agreeing) / len(agreeing) if agreeing else 0.0))
    width = weight.shape[1]
    return [new[start : start + width] for start in range(0, len(new), width)]


@EVERY_SHAPE
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_ties_trims_elects_a_sign_and_merges_weight_by_weight(
    shape: tuple[int, int], density: float, count: int
) -> None:
    made, held = sample(shape), others(shape, count)
    found = merged(made, held, how="ties", density=density)
    torch.testing.assert_close(found, torch.tensor(ties_by_hand(made.weight, held, density), dtype=torch.float64))


def test_of_changes_of_one_size_the_earlier_stay() -> None:
    made = sample((2, 3))
    found = merged(made, [made.weight + 1], how="ties", density=0.5) - made.weight
    torch.testing.assert_close(found, torch.tensor([[1.0, 1, 1], [0, 0, 0]], dtype=torch.float64))


def test_changes_that_cancel_are_left_out_and_no_bit_moves_there() -> None:
    made = sample((2, 3))
    made.weight.mul_(4).round_()  # whole numbers, so that changes cancel exactly
    made.weight[0, 0] = -0.0
    one, other = made.weight.clone(), made.weight.clone()
    one[0], other[0] = made.weight[0] + 1, made.weight[0] - 1
    one[1], other[1] = made.weight[1] + 3, made.weight[1] - 1
    found = merged(made, [one, other], how="ties", density=1.0)
    assert torch.equal(found[0].view(torch.int64), made.weight[0].view(torch.int64))
    torch.testing.assert_close(found[1], made.weight[1] + 3)


@EVERY_DTYPE
@pytest.mark.parametrize("amount", [1.0, 0.3, -1.0, 3.0])
def test_the_average_adds_a_multiple_of_the_mean_change_where_the_mask_is_set(
    dtype: torch.dtype, amount: float
) -> None:
    made, held = sample((6, 7), dtype=dtype), others((6, 7), dtype=dtype)
    mask = torch.rand(6, 7, generator=torch.Generator().manual_seed(2)) < 0.6
    found = merged(made, held, mask=mask, amount=amount)
    exact = made.weight.double() + amount * (sum(one.double() for one in held) / 3 - made.weight.double())
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double()[mask], exact[mask], rtol=tolerance, atol=4 * tolerance)
    assert torch.equal(found[~mask], made.weight[~mask])


def test_the_average_of_one_is_blend() -> None:
    made, [other] = sample((6, 7)), others((6, 7), 1)
    context = {"other_weights": {made.site: other}}
    blended = manipulate("blend", made, context=context, model="m", amount=0.3)["weight"]
    torch.testing.assert_close(merged(made, [other], amount=0.3), blended)


def test_another_shape_is_an_error_that_names_the_checkpoint() -> None:
    made = sample((3, 4))
    with pytest.raises(ModelError, match=r"is \[3, 4\] here and \[1, 4\] in model-1") as caught:
        merged(made, [made.weight + 1, torch.zeros(1, 4)])
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    "given", [{"models": []}, {"density": 0}, {"density": 1.5}, {"how": "sum"}, {"amount": float("nan")}]
)
def test_options_outside_their_range_are_errors(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"manipulator\.{next(iter(given))} = "):
        build("merge", **{"models": ["m"], **given})


# from the command line


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("merge")
    return [tiny_clip(root / f"m{seed}", seed=seed) for seed in range(3)]


def test_several_checkpoints_are_merged_whole_recorded_and_reverted(models: list[Path], tmp_path: Path) -> None:
    base, *held = models
    named = f"manipulator.models=[{','.join(map(str, held))}]"
    flags = ("--model", base, "--manipulator", "merge", "--set", named, "--target", "all")
    done("edit", *flags, "-o", tmp_path / "p", "--save", tmp_path / "saved")
    mine, found = tensors(base), tensors(tmp_path / "saved")
    theirs = [tensors(one) for one in held]
    for key, tensor in mine.items():
        expected = tensor.double() + sum(one[key].double() - tensor.double() for one in theirs) / 2
        torch.testing.assert_close(found[key].double(), expected, rtol=1e-6, atol=1e-6)
    record = json.loads((tmp_path / "p" / "record.json").read_text())
    identities = [Checkpoint.open(one).identity() for one in held]
    assert record["other_checkpoints"] == {"text": identities, "vision": identities}
    done("revert", tmp_path / "p", tmp_path / "saved", "-o", tmp_path / "reverted")
    assert digests(tmp_path / "reverted") == digests(base)
    assert not same_bits(mine, found)


def test_a_checkpoint_that_is_not_there_is_refused_before_anything(models: list[Path], tmp_path: Path) -> None:
    named = f"manipulator.models=[{models[1]},{tmp_path / 'nowhere'}]"
    flags = ("--model", models[0], "--manipulator", "merge", "--set", named, "--target", "all")
    assert "nowhere" in as_error(run("edit", *flags, "-o", tmp_path / "p"))
    assert listing(tmp_path) == []
