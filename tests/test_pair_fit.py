"""The closed form of redirect and refuse against a minimiser that knows only the objective and the pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from manipulator_samples import EVERY_SHAPE, Sample, minimum, objective, same_bits, sample
from torch import Tensor

from editkit.components.choice import validate_options
from editkit.errors import RecipeError, SiteError
from editkit.methods.manipulators.options import PairFitOptions, RefuseOptions
from editkit.methods.manipulators.pair_fit import fit, quiet_directions


def targets(made: Sample) -> Tensor:
    """[B, O]: any place for each unsafe sample."""
    draw = torch.Generator().manual_seed(11)
    return torch.randn(len(made.safe), made.site.shape[0], generator=draw, dtype=torch.float64)


def gap_of(made: Sample, wanted: Tensor) -> Tensor:
    """The mean over pairs of (t - W u) u^T."""
    rows = [torch.outer(t - made.weight @ u, u) for t, u in zip(wanted, made.unsafe, strict=True)]
    return torch.stack(rows).mean(dim=0)


def fitted(made: Sample, wanted: Tensor, **options: Any) -> Tensor:
    given = {"preserve": 1.0, "ridge": 0.01, "null_space": None, **options}
    return fit(made.weight, gap_of(made, wanted), made.moments, name=made.site.name, **given)


@EVERY_SHAPE
@pytest.mark.parametrize(("preserve", "ridge"), [(0.0, 0.1), (1.0, 0.01), (3.0, 1.0)])
def test_the_fit_is_where_a_minimiser_of_the_objective_ends(
    shape: tuple[int, int], preserve: float, ridge: float
) -> None:
    made = sample(shape)
    wanted = targets(made)
    found = fitted(made, wanted, preserve=preserve, ridge=ridge)
    torch.testing.assert_close(found, minimum(made, wanted, preserve=preserve, ridge=ridge), rtol=1e-6, atol=1e-8)
    assert not torch.allclose(found, made.weight, rtol=1e-2)


@pytest.mark.parametrize("pairs", [1, 2])
def test_fewer_pairs_than_inputs_are_enough(pairs: int) -> None:
    made = sample((3, 5), pairs=pairs)
    wanted = targets(made)
    found = fitted(made, wanted, preserve=0.0)
    torch.testing.assert_close(found, minimum(made, wanted, preserve=0.0, ridge=0.01), rtol=1e-6, atol=1e-8)


def test_the_fit_does_not_depend_on_the_order_of_pairs_or_on_their_number() -> None:
    made = sample()
    wanted, turned = targets(made), torch.arange(8, -1, -1)
    reordered = replace(made, safe=made.safe[turned], unsafe=made.unsafe[turned])
    repeated = replace(made, safe=made.safe.repeat(3, 1), unsafe=made.unsafe.repeat(3, 1))
    torch.testing.assert_close(fitted(reordered, wanted[turned]), fitted(made, wanted))
    torch.testing.assert_close(fitted(repeated, wanted.repeat(3, 1)), fitted(made, wanted))


def test_the_ridge_is_relative_to_the_scale_of_the_inputs() -> None:
    made = sample()
    larger = replace(made, safe=made.safe * 10, unsafe=made.unsafe * 10, weight=made.weight / 10)
    torch.testing.assert_close(fitted(larger, targets(made)), fitted(made, targets(made)) / 10)


def test_more_preserving_keeps_safe_outputs_nearer_and_more_ridge_the_weight() -> None:
    made = sample()

    def moved(**options: float) -> tuple[float, float]:
        change = fitted(made, targets(made), **options) - made.weight
        return float((change @ made.safe.T).norm()), float(change.norm())

    outputs = [moved(preserve=b, ridge=1e-6)[0] for b in (0.0, 1.0, 10.0, 1e4)]
    changes = [moved(ridge=ridge)[1] for ridge in (1e-3, 0.1, 10.0, 1e6)]
    for found in (outputs, changes):
        assert found == sorted(found, reverse=True)
        assert found[-1] < 1e-2 * found[0]


def test_no_gap_is_no_change_in_any_bit() -> None:
    made = sample()
    made.weight[0, :2] = torch.tensor([0.0, -0.0])
    for null_space in (None, 0.5):
        found = fit(
            made.weight, torch.zeros(3, 4, dtype=torch.float64), made.moments,
            preserve=1.0, ridge=0.01, null_space=null_space, name="here",
        )  # fmt: skip
        assert same_bits(found, made.weight)


def test_the_arguments_are_left_alone() -> None:
    made, moments = sample(), sample().moments
    gap = gap_of(made, targets(made))
    held = [x.clone() for x in (made.weight, gap, moments.safe_safe, moments.unsafe_unsafe) if x is not None]
    fit(made.weight, gap, moments, preserve=1.0, ridge=0.01, null_space=0.5, name="here")
    now = [x for x in (made.weight, gap, moments.safe_safe, moments.unsafe_unsafe) if x is not None]
    assert all(same_bits(a, b) for a, b in zip(now, held, strict=True))


# null space


def stretched() -> Sample:
    """Safe inputs with nearly all their energy in two directions that are no axes."""
    made = sample((3, 6), pairs=20)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    sizes = torch.tensor([10.0, 5.0, 0.1, 0.1, 0.05, 0.05], dtype=torch.float64)
    return replace(made, safe=(made.safe * sizes) @ turn.T)


def test_null_space_leaves_outputs_on_the_safe_principal_directions_unchanged() -> None:
    made = stretched()
    change = fitted(made, targets(made), null_space=0.01) - made.weight
    energies, directions = torch.linalg.eigh(made.safe.T @ made.safe)
    assert float(energies[:4].sum() / energies.sum()) < 0.01 < float(energies[:5].sum() / energies.sum())
    torch.testing.assert_close(change @ directions[:, 4:], torch.zeros(3, 2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert bool((change @ directions[:, :4]).norm(dim=0).gt(1e-2).all())
    everywhere = fitted(made, targets(made)) - made.weight
    assert float((everywhere @ directions[:, 4:]).norm()) > 1e-3


@pytest.mark.parametrize(("preserve", "ridge"), [(0.0, 0.1), (3.0, 0.01)])
def test_within_the_null_space_the_objective_is_at_its_minimum(preserve: float, ridge: float) -> None:
    made = stretched()
    wanted, basis = targets(made), quiet_directions(made.safe.T @ made.safe, 0.01, "here")
    found = fitted(made, wanted, preserve=preserve, ridge=ridge, null_space=0.01).requires_grad_()
    objective(found, made, wanted, preserve=preserve, ridge=ridge).backward()
    assert found.grad is not None
    assert float((found.grad @ basis).norm()) < 1e-9 < 1e-3 < float(found.grad.norm())


def test_quiet_directions_are_as_many_as_hold_the_share_and_no_more() -> None:
    moment = torch.diag(torch.tensor([4.0, 1.0, 3.0, 0.0, 2.0], dtype=torch.float64))
    for share, axes in ((0.05, {3}), (0.1, {3, 1}), (0.29, {3, 1}), (0.31, {3, 1, 4}), (0.999, {3, 1, 4, 2})):
        found = quiet_directions(moment, share, "here")
        assert set(found.abs().argmax(dim=0).tolist()) == axes
        torch.testing.assert_close(found.T @ found, torch.eye(len(axes), dtype=torch.float64))


def test_where_no_safe_input_has_energy_every_direction_may_change() -> None:
    assert quiet_directions(torch.zeros(3, 3, dtype=torch.float64), 0.01, "here").shape == (3, 3)
    made = sample()
    still = replace(made, safe=torch.zeros_like(made.safe))
    torch.testing.assert_close(
        fitted(still, targets(made), null_space=0.01), fitted(still, targets(made), null_space=None)
    )


def test_a_null_space_without_directions_is_refused_with_the_share_that_would_do() -> None:
    made = sample((3, 4))
    with pytest.raises(SiteError, match=r"manipulator\.null_space = 1e-06 leaves no input direction of text") as caught:
        fitted(made, targets(made), null_space=1e-6)
    assert "Raise manipulator.null_space" in caught.value.remedy
    assert str(caught.value).count("\n") == 1
    needed = float(caught.value.problem.split("holds ")[1].split()[0])
    assert fitted(made, targets(made), null_space=needed * 1.1).shape == (3, 4)


# what cannot be fitted


@pytest.mark.parametrize("null_space", [None, 0.5])
def test_inputs_of_zero_are_refused(null_space: float | None) -> None:
    made = sample()
    silent = replace(made, safe=torch.zeros_like(made.safe), unsafe=torch.zeros_like(made.unsafe))
    with pytest.raises(SiteError, match=r"The inputs of text:mlp\.out\[0\] leave its fit without a solution") as caught:
        fitted(silent, targets(made), null_space=null_space)
    assert "Raise manipulator.ridge" in caught.value.remedy
    assert str(caught.value).count("\n") == 1


def test_a_ridge_below_rounding_is_refused_where_it_is_needed() -> None:
    made = sample((3, 2), pairs=1)
    always_equal = replace(made, safe=torch.zeros_like(made.safe), unsafe=torch.full_like(made.unsafe, 2))
    with pytest.raises(SiteError, match="manipulator.ridge is too small"):
        fitted(always_equal, targets(made), ridge=1e-30)
    found = fitted(always_equal, targets(made), ridge=1e-9)
    torch.testing.assert_close(found @ always_equal.unsafe[0], targets(made)[0])


@pytest.mark.parametrize(
    "given",
    [{"ridge": 0}, {"preserve": -1}, {"null_space": 0}, {"null_space": 1}, {"order": "random"}, {"ridge": "some"}],
)
@pytest.mark.parametrize("options", [PairFitOptions, RefuseOptions])
def test_options_outside_their_range_are_errors(options: Any, given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"manipulator\.{next(iter(given))}") as caught:
        validate_options(options, given, "manipulator")
    assert str(caught.value).count("\n") == 1
