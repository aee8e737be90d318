"""Controls of the same norm: what shuffling and shrinking keep of a change, in every dtype and layout."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import float64
from tiny_checkpoints import model_folder
from torch import Tensor

from editkit.components.site import Site
from editkit.evals.norm_controls import plus, rescaled, rescaled_sites, shuffled, whole_controls
from editkit.files.bits import DTYPES, to_bits, to_tensor
from editkit.files.checkpoint import Checkpoint
from editkit.patch.change import Change

SHAPES = [(5, 7), (1, 6), (6, 1), (8, 8)]
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
SEEDS = (0, 1, 2)
LABELS = ["shuffled 0", "shuffled 1", "shuffled 2", "shrink"]
TOLERANCE = {"F32": 1e-6, "F16": 2e-3, "BF16": 2e-2}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def columns(matrix: Tensor) -> list[list[float]]:
    return sorted(matrix.T.tolist())


# shuffled


@EVERY_SHAPE
def test_shuffled_columns_are_the_columns_of_the_change_in_another_order(shape: tuple[int, int]) -> None:
    delta = drawn(*shape)
    moved = shuffled(delta, seed=0, key="a.weight")
    assert columns(moved) == columns(delta)
    assert torch.equal(moved, delta) == (shape[1] == 1)


@EVERY_SHAPE
def test_shuffling_keeps_norm_spectrum_and_the_outputs_written_to(shape: tuple[int, int]) -> None:
    delta = drawn(*shape)
    moved = shuffled(delta, seed=1, key="a.weight")
    assert float(moved.norm()) == pytest.approx(float(delta.norm()), rel=1e-12)
    assert torch.allclose(torch.linalg.svdvals(moved), torch.linalg.svdvals(delta), rtol=1e-10, atol=1e-12)
    assert torch.allclose(moved @ moved.T, delta @ delta.T, rtol=1e-10, atol=1e-12)


def test_a_tensor_stored_transposed_has_its_inputs_in_rows() -> None:
    delta = drawn(7, 5)
    moved = shuffled(delta, seed=0, key="proj", transposed=True)
    assert torch.equal(moved, shuffled(delta.T, seed=0, key="proj").T)
    assert columns(moved.T) == columns(delta.T) and columns(moved) != columns(delta)


def test_a_vector_has_its_entries_shuffled_and_a_single_number_none_to_shuffle() -> None:
    bias = drawn(40)
    moved = shuffled(bias, seed=0, key="bias")
    assert sorted(moved.tolist()) == sorted(bias.tolist()) and not torch.equal(moved, bias)
    assert torch.equal(shuffled(drawn(), seed=0, key="scale"), drawn())


def test_a_convolution_is_shuffled_as_the_linear_map_of_patches_that_it_is() -> None:
    kernel = drawn(6, 3, 2, 2)
    moved = shuffled(kernel, seed=0, key="patches")
    assert moved.shape == kernel.shape
    assert torch.equal(moved.view(6, -1), shuffled(kernel.view(6, -1), seed=0, key="patches"))


def test_orders_differ_by_seed_and_tensor_and_are_the_same_every_time() -> None:
    delta = drawn(4, 50)
    orders = {(seed, key): shuffled(delta, seed=seed, key=key) for seed in SEEDS for key in ("a", "b")}
    assert all(torch.equal(moved, shuffled(delta, seed=s, key=k)) for (s, k), moved in orders.items())
    assert len({tuple(moved[0].tolist()) for moved in orders.values()}) == len(orders)


# rescaled


@EVERY_SHAPE
@pytest.mark.parametrize("norm", [0.0, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("share", [0.3, None])
def test_rescaled_equals_a_naive_loop(shape: tuple[int, int], norm: float, share: float | None) -> None:
    weight = drawn(*shape, seed=1)
    mask = None if share is None else torch.rand(shape, generator=torch.Generator().manual_seed(2)) < share
    chosen = [[mask is None or bool(mask[o, i]) for i in range(shape[1])] for o in range(shape[0])]
    held, expected = float64(weight), float64(weight).copy()
    squares = sum(held[o, i] ** 2 for o in range(shape[0]) for i in range(shape[1]) if chosen[o][i])
    for o in range(shape[0]):
        for i in range(shape[1]):
            if chosen[o][i]:
                expected[o, i] = (1 - norm / sqrt(squares)) * held[o, i]
    np.testing.assert_allclose(float64(rescaled(weight, norm=norm, mask=mask)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [0.01, 0.5, 3.0, 50.0])
def test_the_change_has_the_norm_asked_for_even_beyond_that_of_the_weights(norm: float) -> None:
    weight, mask = drawn(9, 11), drawn(9, 11, seed=1) > 0.5
    for chosen in (mask, None):
        moved = rescaled(weight, norm=norm, mask=chosen) - weight
        assert float(moved.norm()) == pytest.approx(norm, rel=1e-12)


def test_weights_that_are_all_zero_cannot_be_scaled_and_stay() -> None:
    weight = torch.zeros(3, 4)
    assert torch.equal(rescaled(weight, norm=1.0), weight)
    weight[0, 0] = 1
    assert torch.equal(rescaled(weight, norm=1.0, mask=weight == 0), weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_weight_that_does_not_move_keeps_its_bits(dtype: torch.dtype) -> None:
    weight = drawn(6, 8).to(dtype)
    weight[0, :2] = torch.tensor([-0.0, 0.0])
    delta = drawn(6, 8, seed=1) * (drawn(6, 8, seed=2) > 0)
    delta[0, :2] = 0
    moved = plus(weight, delta)
    still = (delta == 0).numpy()
    assert moved.dtype == dtype and still.sum() > 2
    assert np.array_equal(to_bits(moved)[still], to_bits(weight)[still])
    assert torch.equal(moved, torch.where(delta == 0, weight, (weight.double() + delta).to(dtype)))


# whole patches


def changes_of(checkpoint: Checkpoint, *, share: float = 1.0, size: float = 0.3) -> dict[str, Change]:
    """A change of every floating tensor: `share` of its elements, by `size` of their spread."""
    made = {}
    for key, info in checkpoint.tensors.items():
        before = checkpoint.read(key)
        if info.dtype not in DTYPES:
            after = before + before.dtype.type(1)
        else:
            weight = to_tensor(before, info.dtype, key).view(before.shape)
            where = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) <= share
            moved = weight.double() + where * size * drawn(*weight.shape, seed=4)
            after = to_bits(moved.to(weight.dtype))
        change = Change.between(key, info.dtype, before, after)
        assert change is not None
        made[key] = change
    return made


def values(change: Change, checkpoint: Checkpoint) -> Tensor:
    """The change in float64, in the tensor's shape."""
    before = checkpoint.read(change.key)
    parts = (to_tensor(bits, change.dtype, change.key).view(before.shape) for bits in (change.made(before), before))
    after, base = (part.double() for part in parts)
    return after - base


def controls(checkpoint: Checkpoint, changes: dict[str, Change], **options: Any) -> dict[str, dict[str, Change]]:
    return dict(whole_controls(changes.values(), checkpoint, seeds=SEEDS, **({"transposed": ()} | options)))


@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_control_has_the_norm_of_the_change_in_every_tensor(tmp_path: Path, dtype: str, share: float) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model", dtype))
    changes = changes_of(checkpoint, share=share)
    made = controls(checkpoint, changes)
    assert list(made) == LABELS
    for found in made.values():
        assert found.keys() == changes.keys() - {"position_ids"}  # integers stay as they are
        for key, change in found.items():
            assert change.fits(checkpoint.read(key))
            norm = float(values(changes[key], checkpoint).norm())
            assert float(values(change, checkpoint).norm()) == pytest.approx(norm, rel=TOLERANCE[dtype])


def test_shrink_multiplies_a_whole_tensor_by_one_factor(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model"))
    changes = changes_of(checkpoint)
    for key, change in controls(checkpoint, changes)["shrink"].items():
        before = checkpoint.read(key)
        base = to_tensor(before, "F32", key).double()
        after = to_tensor(change.made(before), "F32", key).double().view(base.shape)
        factor = 1 - values(changes[key], checkpoint).norm() / base.norm()
        assert torch.allclose(after, factor * base, rtol=1e-6, atol=0)


def test_shuffled_controls_hold_the_columns_of_the_change_itself(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model"))
    changes = changes_of(checkpoint, share=0.2)
    for label in LABELS[:3]:
        found = values(controls(checkpoint, changes)[label]["a.weight"], checkpoint)
        own = values(changes["a.weight"], checkpoint)
        assert sorted(found.norm(dim=0).tolist()) == pytest.approx(sorted(own.norm(dim=0).tolist()), rel=1e-5)
        assert found.norm(dim=1).tolist() == pytest.approx(own.norm(dim=1).tolist(), rel=1e-5)
    turned = values(controls(checkpoint, changes, transposed=("a.weight",))["shuffled 0"]["a.weight"], checkpoint)
    assert turned.norm(dim=0).tolist() == pytest.approx(own.norm(dim=0).tolist(), rel=1e-5)
    assert turned.norm(dim=1).tolist() != pytest.approx(own.norm(dim=1).tolist(), rel=1e-5)


def test_a_change_that_rounding_swallows_is_no_change(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model", "BF16"))
    before = checkpoint.read("a.weight")
    after = before.copy()
    after[0, 0] ^= 1  # the last bit of one weight: shrinking all of them by as much moves none
    change = Change.between("a.weight", "BF16", before, after)
    assert change is not None
    assert controls(checkpoint, {"a.weight": change})["shrink"] == {}


@pytest.mark.parametrize(
    ("key", "factor", "shrinks"),
    [("a.weight", 0.1, True), ("a.weight", -0.1, False), ("a.weight", 2.5, False), ("a.bias", 2.5, True)],
)
def test_a_matrix_that_changed_by_more_than_its_norm_cannot_be_shrunk(
    tmp_path: Path, key: str, factor: float, shrinks: bool
) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model"))
    before = checkpoint.read(key)
    change = Change.between(key, "F32", before, to_bits(factor * to_tensor(before, "F32", key)))
    assert change is not None
    made = controls(checkpoint, {**changes_of(checkpoint, size=0.1), key: change})
    assert bool(made["shrink"]) == shrinks
    assert all(made[label] for label in LABELS[:3])


def test_sites_of_one_tensor_are_scaled_apart_each_to_its_own_norm(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model"))
    changes = changes_of(checkpoint, share=0.5)
    first = Site("text", 0, "attn.q", "a", "a.weight", (6, 10), rows=(0, 6))
    second = Site("text", 0, "attn.k", "a", "a.weight", (6, 10), rows=(6, 12))
    turned = Site("text", 0, "proj", "", "b.weight", (12, 7), transposed=True)
    masks = {site: drawn(*site.shape, seed=9) > 0.4 for site in (first, second, turned)}
    made = rescaled_sites(changes, checkpoint, masks)
    assert list(made) == ["a.weight", "b.weight"]
    found, own = ({key: values(c[key], checkpoint) for key in made} for c in (made, changes))
    for rows, site in ((slice(0, 6), first), (slice(6, 12), second)):
        assert torch.equal(found["a.weight"][rows] != 0, masks[site])
        assert float(found["a.weight"][rows].norm()) == pytest.approx(float(own["a.weight"][rows].norm()), rel=1e-6)
    assert torch.equal(found["b.weight"].T != 0, masks[turned])
    assert float(found["b.weight"].norm()) == pytest.approx(float(own["b.weight"].norm()), rel=1e-6)


def test_a_site_whose_tensor_the_patch_left_alone_is_left_alone(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(model_folder(tmp_path / "model"))
    changes = {"a.weight": changes_of(checkpoint)["a.weight"]}
    other = Site("text", 1, "mlp.out", "b", "b.weight", (7, 12))
    assert rescaled_sites(changes, checkpoint, {other: torch.ones(7, 12, dtype=torch.bool)}) == {}
