"""LEACE, INLP and null-space projection against loops over samples that are written from the papers' equations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from manipulator_samples import EVERY_DTYPE, Sample, build, manipulate, same_bits, sample
from torch import Tensor

from editkit.errors import RecipeError, SiteError

Floats = np.ndarray[Any, np.dtype[np.float64]]
SHAPES = pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (6, 2), (2, 7), (5, 5)])
SIDES = pytest.mark.parametrize("of", ["outputs", "inputs"])


def both(made: Sample, of: str = "outputs") -> tuple[Floats, Floats]:
    """The site's vectors [2 B, D], without the bias, and the label of each: 1 is unsafe."""
    x = torch.cat([made.safe, made.unsafe])
    rows = x @ made.weight.double().T if of == "outputs" else x
    return rows.numpy(), np.repeat([0.0, 1.0], len(made.safe))


def covariance(x: Floats, y: Floats) -> Floats:
    """Of the columns of two arrays, one sample at a time."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for a, b in zip(x - x.mean(axis=0), y - y.mean(axis=0), strict=True):
        total += np.outer(a, b) / len(x)
    return total


def leace(x: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """P and the constant of r(x) = P x + (I - P) mean, by whitening and a projection as the paper has them."""
    energies, directions = np.linalg.eigh(covariance(x, x))
    kept = energies > 1e-9 * energies.max()
    root = (directions[:, kept] * np.sqrt(energies[kept])) @ directions[:, kept].T
    whiten = np.linalg.pinv(root, rcond=1e-9)
    signal = whiten @ covariance(x, labels[:, None])
    eraser = np.eye(x.shape[1]) - np.linalg.pinv(whiten, rcond=1e-9) @ signal @ np.linalg.pinv(signal) @ whiten
    return eraser, x.mean(axis=0) - eraser @ x.mean(axis=0)


# LEACE


@SHAPES
@SIDES
@pytest.mark.parametrize("pairs", [2, 12])
def test_leace_is_the_eraser_of_the_paper_folded_into_weight_and_bias(
    shape: tuple[int, int], of: str, pairs: int
) -> None:
    made = sample(shape, pairs=pairs)
    new = manipulate("leace", made, bias=made.bias, of=of)
    eraser, constant = leace(*both(made, of))
    x = torch.cat([made.safe, made.unsafe]).numpy()
    weight, bias = made.weight.numpy(), made.bias.numpy()
    if of == "outputs":  # of W x + b, whose mean has b in it
        y = x @ weight.T + bias
        wanted = y @ eraser.T + constant + (np.eye(len(bias)) - eraser) @ bias
    else:
        wanted = (x @ eraser.T + constant) @ weight.T + bias
    found = x @ new["weight"].numpy().T + new["bias"].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


@SIDES
def test_after_leace_outputs_and_labels_do_not_covary_and_their_mean_stays(of: str) -> None:
    made = sample((4, 6), pairs=20)
    new = manipulate("leace", made, bias=made.bias, of=of)
    x, labels = both(made, "inputs")
    before, after = x @ made.weight.numpy().T + made.bias.numpy(), x @ new["weight"].numpy().T + new["bias"].numpy()
    np.testing.assert_allclose(covariance(after, labels[:, None]), 0, atol=1e-12)
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-12)
    assert np.abs(covariance(before, labels[:, None])).max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_of_all_maps_that_equal_the_class_means_leace_moves_outputs_least(seed: int) -> None:
    made = sample((4, 6), pairs=20, seed=seed)
    y, _ = both(made)
    eraser = manipulate("leace", made)["weight"].numpy() @ np.linalg.pinv(made.weight.numpy())
    centred = y - y.mean(axis=0)
    difference = y[20:].mean(axis=0) - y[:20].mean(axis=0)
    moved = np.square(centred @ (eraser - np.eye(4)).T).sum()
    draw = np.random.default_rng(seed)
    for scale in (0.01, 1.0):
        for _ in range(20):
            other = eraser + scale * draw.normal(size=(4, 4))
            other -= np.outer(other @ difference, difference) / (difference @ difference)
            np.testing.assert_allclose(other @ difference, 0, atol=1e-10)
            assert np.square(centred @ (other - np.eye(4)).T).sum() >= moved * (1 - 1e-9)


@SIDES
def test_erasing_what_is_erased_changes_nothing_more(of: str) -> None:
    made = sample((4, 6), pairs=20)
    once = manipulate("leace", made, of=of)["weight"]
    difference = (made.unsafe - made.safe).mean(dim=0)
    assert float((once @ difference).norm()) < 1e-10 * float((made.weight @ difference).norm())


# INLP


def inlp(x: Floats, labels: Floats, rounds: int) -> Floats:
    """The projection of the paper: a classifier of least squares on projected data, round after round."""
    weights: list[Floats] = []
    projection = np.eye(x.shape[1])
    for _ in range(rounds):
        centred = x @ projection.T
        centred = centred - centred.mean(axis=0)
        found, *_ = np.linalg.lstsq(centred, labels - labels.mean(), rcond=1e-8)
        if np.linalg.norm(projection @ (x[labels == 1].mean(axis=0) - x[labels == 0].mean(axis=0))) < 1e-8:
            break
        weights.append(found)
        basis, _ = np.linalg.qr(np.stack(weights).T)
        projection = np.eye(x.shape[1]) - basis @ basis.T
    return projection


@SHAPES
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_inlp_is_the_projection_of_its_rounds_on_the_samples_themselves(shape: tuple[int, int], rounds: int) -> None:
    made = sample(shape, pairs=12)
    new = manipulate("inlp", made, bias=made.bias, rounds=rounds)
    projection = inlp(*both(made), rounds)
    np.testing.assert_allclose(new["weight"], projection @ made.weight.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(new["bias"], projection @ made.bias.numpy(), rtol=1e-5, atol=1e-7)


def test_every_round_takes_one_dimension_out_and_less_of_the_labels_is_left() -> None:
    made = sample((6, 8), pairs=30)
    y, labels = both(made)
    explained = []
    for rounds in range(1, 5):
        new = manipulate("inlp", made, rounds=rounds)["weight"]
        assert int(torch.linalg.matrix_rank(new)) == 6 - rounds
        rows = torch.cat([made.safe, made.unsafe]).numpy() @ new.numpy().T
        rows = rows - rows.mean(axis=0)
        fitted, *_ = np.linalg.lstsq(rows, labels - 0.5, rcond=1e-8)
        explained.append(np.square(rows @ fitted).sum() / np.square(labels - 0.5).sum())
    assert explained == sorted(explained, reverse=True) and len(y) == 60


def test_more_rounds_than_dimensions_leave_nothing() -> None:
    new = manipulate("inlp", sample((3, 5), pairs=20), rounds=50)["weight"]
    assert float(new.norm()) < 1e-8


# null space


def quiet_part(made: Sample, share: float, preserved: Tensor | None = None) -> Floats:
    """The projection [I, I] onto the directions of least energy of what should stay."""
    stays = sum(np.outer(s, s) for s in made.safe.numpy()) / len(made.safe)
    if preserved is not None:
        stays = stays + sum(np.outer(x, x) for x in preserved.numpy()) / len(preserved)
    energies, directions = np.linalg.eigh(stays)
    kept: list[Floats] = []
    total = 0.0
    for energy, direction in zip(energies, directions.T, strict=True):
        total += energy
        if total > share * energies.sum():
            break
        kept.append(direction)
    return np.stack(kept, axis=1)


def stretched(shape: tuple[int, int]) -> Sample:
    made = sample(shape, pairs=20)
    return replace(made, safe=made.safe * torch.logspace(0, -3, shape[1], dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3, 4), (1, 6), (6, 3)])
@pytest.mark.parametrize("energy", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("with_preserved", [False, True])
def test_null_space_takes_out_the_loudest_unsafe_directions_where_the_others_are_quiet(
    shape: tuple[int, int], energy: float, with_preserved: bool
) -> None:
    made, share = stretched(shape), 0.02
    draw = torch.Generator().manual_seed(2)
    rows = torch.randn(9, shape[1], generator=draw, dtype=torch.float64)
    rows = rows * torch.logspace(0, -3, shape[1], dtype=torch.float64)
    quiet = quiet_part(made, share, rows if with_preserved else None)
    unsafe = made.unsafe.numpy() @ quiet
    energies, directions = np.linalg.eigh(unsafe.T @ unsafe / len(unsafe))
    taken: list[Floats] = []
    held = 0.0
    for value, direction in zip(energies[::-1], directions.T[::-1], strict=True):
        taken.append(quiet @ direction)
        held += value
        if held >= energy * energies.sum() - 1e-12:
            break
    loud = np.stack(taken, axis=1)
    moments = replace(made.moments, preserved=rows.T @ rows / 9 if with_preserved else None)
    context = {"moments": {made.site: moments}}
    found = manipulate("null-space", made, context=context, share=share, energy=energy)["weight"]
    np.testing.assert_allclose(found, made.weight.numpy() @ (np.eye(shape[1]) - loud @ loud.T), rtol=1e-6, atol=1e-9)


def test_outputs_on_what_should_stay_move_by_no_more_than_the_share_allows() -> None:
    made = stretched((4, 6))
    change = manipulate("null-space", made, share=0.01, energy=1.0)["weight"] - made.weight
    largest = float(torch.linalg.svdvals(made.weight)[0])
    assert 0 < float((made.safe @ change.T).square().sum()) <= 0.01 * largest**2 * float(made.safe.square().sum())


def test_a_share_that_leaves_no_direction_is_refused_by_its_name() -> None:
    with pytest.raises(SiteError, match=r"manipulator\.share = 1e-09 leaves no input direction") as caught:
        manipulate("null-space", sample((3, 4)), share=1e-9)
    assert caught.value.remedy == "Raise manipulator.share above that."


# all


@EVERY_DTYPE
@pytest.mark.parametrize(("name", "options"), [("leace", {}), ("inlp", {"rounds": 2}), ("null-space", {"share": 0.3})])
def test_they_are_solved_in_float64_and_rounded_once(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    made = sample((6, 7), dtype=dtype, pairs=20)
    wide = replace(made, weight=made.weight.double(), bias=made.bias.double())
    exact, found = manipulate(name, wide, bias=wide.bias, **options), manipulate(name, made, bias=made.bias, **options)
    assert exact.keys() == found.keys()
    for key, tensor in exact.items():
        assert same_bits(found[key], tensor.to(dtype))


@pytest.mark.parametrize("name", ["leace", "inlp"])
def test_classes_of_one_mean_are_refused(name: str) -> None:
    made = sample()
    with pytest.raises(SiteError, match=r"Safe and unsafe means are equal at text:mlp\.out\[0\]") as caught:
        manipulate(name, replace(made, unsafe=made.safe))
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("leace", {"of": "weights"}),
        ("inlp", {"rounds": 0}),
        ("null-space", {"share": 1}),
        ("null-space", {"energy": 0}),
    ],
)
def test_options_outside_their_range_are_errors(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"manipulator\.{next(iter(given))} = "):
        build(name, **given)
