"""Refusing: unsafe inputs land where the other modality is not, with a share of their safe twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from manipulator_samples import EVERY_DTYPE, EVERY_SHAPE, Sample, build, manipulate, minimum, same_bits, sample, spec_of
from torch import Tensor

from editkit.components.statistics import EmbeddingMoments
from editkit.errors import RecipeError, SiteError
from editkit.methods.manipulators.options import RefuseOptions
from editkit.methods.manipulators.refuse import least_energy

DIRECTIONS = pytest.mark.parametrize("direction", ["least-energy", "minus-mean"])


def embedded(rows: Tensor) -> EmbeddingMoments:
    """Mean and second moment of embeddings [n, D], one row at a time."""
    return EmbeddingMoments(rows.mean(dim=0), torch.stack([torch.outer(row, row) for row in rows]).mean(dim=0))


def other_tower(dimensions: int, *, samples: int = 40, seed: int = 7) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(1, 0.2, dimensions, dtype=torch.float64)
    rows = torch.randn(samples, dimensions, generator=draw, dtype=torch.float64) * sizes + 0.3
    return rows / rows.norm(dim=1, keepdim=True)


def proj(shape: tuple[int, int] = (3, 4), **more: Any) -> Sample:
    return sample(shape, role="proj", **more)


def refused(
    made: Sample, other: EmbeddingMoments | None, own_side: EmbeddingMoments | None = None, **options: Any
) -> Tensor:
    context = {"moments": {made.site: made.moments}, "own_modality": own_side, "other_modality": other}
    plain: dict[str, Any] = {"ridge": 0.001, "own": 0, "keep": 0, "preserve": 3, "direction": "least-energy"}
    return manipulate("refuse", made, context=context, **(plain | options))["weight"]


def away(rows: Tensor, direction: str) -> Tensor:
    """[D]: the direction by another way, a singular vector of the rows themselves."""
    mean = rows.mean(dim=0)
    if direction == "minus-mean":
        return -mean / mean.norm()
    found = torch.linalg.svd(rows).Vh[-1]
    return -found if float(found @ mean) > 0 else found


def wanted(made: Sample, n: Tensor, *, keep: float, push: float, own: float = 0) -> Tensor:
    """[B, O]: h W u + g W s + k m n of each pair."""
    norm = sum(float((made.weight @ s).norm()) for s in made.safe) / len(made.safe)
    pairs = zip(made.safe, made.unsafe, strict=True)
    return torch.stack([own * (made.weight @ u) + keep * (made.weight @ s) + push * norm * n for s, u in pairs])


@EVERY_SHAPE
@DIRECTIONS
@pytest.mark.parametrize(
    ("own", "keep", "push", "preserve", "ridge"),
    [(0, 0, 1.0, 3.0, 0.01), (0, 0.5, 0.5, 0.0, 0.1), (0, 1.0, 2.0, 1.0, 1.0), (0.8, 0.2, 1.0, 3.0, 0.01)],
)
def test_refuse_at_the_projection_minimises_its_objective(
    shape: tuple[int, int], direction: str, own: float, keep: float, push: float, preserve: float, ridge: float
) -> None:
    made, rows = proj(shape), other_tower(shape[0])
    goals = wanted(made, away(rows, direction), own=own, keep=keep, push=push)
    fit: dict[str, Any] = {"preserve": preserve, "ridge": ridge}
    found = refused(made, embedded(rows), direction=direction, own=own, keep=keep, push=push, **fit)
    torch.testing.assert_close(found, minimum(made, goals, preserve=preserve, ridge=ridge), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 3), (2, 7)])
@DIRECTIONS
def test_elsewhere_the_sites_own_safe_outputs_stand_for_the_other_modality(
    shape: tuple[int, int], direction: str
) -> None:
    made = sample(shape, pairs=12)
    n = away(made.safe @ made.weight.T, direction)
    goals = wanted(made, n, keep=0.2, push=1.0)
    options: dict[str, Any] = {"direction": direction, "keep": 0.2, "push": 1.0, "preserve": 1.0, "ridge": 0.05}
    found = refused(made, None, **options)
    torch.testing.assert_close(found, minimum(made, goals, preserve=1.0, ridge=0.05), rtol=1e-5, atol=1e-7)
    assert torch.equal(refused(made, embedded(other_tower(shape[0])), **options), found)


def test_with_everything_kept_and_no_push_refuse_is_redirect() -> None:
    made = proj()
    found = refused(made, embedded(other_tower(3)), keep=1, push=0, preserve=1)
    torch.testing.assert_close(found, manipulate("redirect", made, ridge=0.001)["weight"])


def test_opposed_towers_are_pushed_apart_along_what_both_use_least() -> None:
    text, vision = other_tower(4, seed=1), other_tower(4, seed=2)
    n = away(torch.cat([text, vision]), "least-energy")
    captions = proj((4, 6))
    images = replace(captions, site=replace(captions.site, tower="vision"))
    options: dict[str, Any] = {"own": 1, "keep": 0, "push": 1.5, "direction": "opposed", "preserve": 1, "ridge": 0.01}
    for made, own_side, other, sign in ((captions, text, vision, 1), (images, vision, text, -1)):
        found = refused(made, embedded(other), embedded(own_side), **options)
        goals = wanted(made, sign * n, own=1, keep=0, push=1.5)
        torch.testing.assert_close(found, minimum(made, goals, preserve=1, ridge=0.01), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_of_two_directions_of_least_energy_the_images_one_points_against_the_captions_one(seed: int) -> None:
    text, vision = other_tower(4, seed=seed), other_tower(4, seed=seed + 50)
    captions = proj((4, 6))
    images = replace(captions, site=replace(captions.site, tower="vision"))
    options: dict[str, Any] = {"own": 1, "keep": 0, "push": 1, "direction": "least-energy", "preserve": 1}
    pushed = [
        (refused(made, embedded(other), embedded(own), **options) - made.weight) @ made.unsafe.mean(dim=0)
        for made, own, other in ((captions, text, vision), (images, vision, text))
    ]
    assert float(pushed[0] @ pushed[1]) < 0


def test_a_push_alone_changes_a_weight_by_rank_one() -> None:
    made, rows = proj((5, 6)), other_tower(5)
    change = refused(made, embedded(rows), own=1) - made.weight
    assert float(torch.linalg.svdvals(change)[1]) < 1e-12 * float(change.norm())


def test_refused_outputs_align_with_the_direction_and_kept_ones_stay() -> None:
    made, rows = proj((4, 6), pairs=40), other_tower(4)
    safe, unsafe = made.safe.clone(), made.safe.clone()
    safe[:, 5], unsafe[:, :3], unsafe[:, 5] = 0, 0, 4  # the two sides have inputs of their own
    told = replace(made, safe=safe, unsafe=unsafe)
    new, n = refused(told, embedded(rows), preserve=1), away(rows, "least-energy")
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(unsafe @ new.T, n[None]).mean()) > 0.9
    assert float(cosine(safe @ new.T, safe @ made.weight.T).mean()) > 0.95


@DIRECTIONS
def test_the_edit_is_linear_in_the_push(direction: str) -> None:
    made, other = proj(), embedded(other_tower(3))
    edits = [refused(made, other, direction=direction, push=push) for push in (0, 1, 2)]
    torch.testing.assert_close(edits[2] - edits[1], edits[1] - edits[0])
    assert not torch.allclose(edits[0], edits[1])


@EVERY_DTYPE
def test_refuse_is_solved_in_float64_and_rounded_once(dtype: torch.dtype) -> None:
    made, other = proj((6, 7), dtype=dtype), embedded(other_tower(6))
    exact = refused(replace(made, weight=made.weight.double()), other)
    assert same_bits(refused(made, other), exact.to(dtype))


def test_null_space_leaves_outputs_on_inputs_outside_it_alone() -> None:
    made = proj((3, 4))
    safe = made.safe.clone()
    safe[:, 3] *= 1e-4
    new = refused(replace(made, safe=safe), embedded(other_tower(3)), null_space=1e-6)
    torch.testing.assert_close(new[:, :3], made.weight[:, :3], rtol=0, atol=1e-3)
    assert not torch.allclose(new[:, 3], made.weight[:, 3], rtol=0, atol=1e-1)


# the direction of least energy


@pytest.mark.parametrize("dimensions", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(5))
def test_least_energy_is_the_smallest_eigenvector_and_points_away_from_the_mean(dimensions: int, seed: int) -> None:
    other = embedded(other_tower(dimensions, seed=seed))
    n = least_energy(other)
    smallest = float(torch.linalg.eigvalsh(other.second_moment)[0])
    assert float(n.norm()) == pytest.approx(1, abs=1e-12)
    assert float(n @ other.mean) <= 0
    torch.testing.assert_close(other.second_moment @ n, smallest * n, rtol=0, atol=1e-12)


def test_orthogonal_to_the_mean_its_largest_entry_is_positive() -> None:
    moment = torch.diag(torch.tensor([1.0, 0.1, 1.0], dtype=torch.float64))
    for mean in ([0.5, 0.0, 0.0], [-0.5, 0.0, 0.3], [0.0, 0.0, 0.0]):
        n = least_energy(EmbeddingMoments(torch.tensor(mean, dtype=torch.float64), moment))
        assert n.tolist() == [0, 1, 0]
    against = least_energy(EmbeddingMoments(torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64), moment))
    assert against.tolist() == [0, -1, 0]


def test_with_fewer_samples_than_dimensions_the_direction_is_still_one_and_the_same() -> None:
    rows = other_tower(12, samples=4)
    n = least_energy(embedded(rows))
    torch.testing.assert_close(rows @ n, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-9)
    assert float(n[n.abs().argmax()]) > 0
    # the same embeddings summed in another order: other rounding, hence other eigenvectors of eigenvalue zero
    torch.testing.assert_close(least_energy(embedded(rows.flip(0))), n, rtol=0, atol=1e-9)
    nudged = embedded(rows)
    noise = torch.randn(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e-17
    again = least_energy(EmbeddingMoments(nudged.mean, nudged.second_moment + noise + noise.T))
    torch.testing.assert_close(again, n, rtol=0, atol=1e-9)


# what cannot be refused


def test_refuse_at_the_projection_needs_both_modalities() -> None:
    with pytest.raises(SiteError, match="refuse at text:proj needs tuples with both captions and images") as caught:
        refused(proj(), None)
    assert str(caught.value).count("\n") == 1


def test_embeddings_of_another_size_are_refused() -> None:
    with pytest.raises(SiteError, match=r"text:proj has 3 outputs, and .* 5 dimensions") as caught:
        refused(proj(), embedded(other_tower(5)))
    assert str(caught.value).count("\n") == 1


def test_a_mean_of_zero_gives_no_direction_against_it() -> None:
    rows = torch.eye(3, dtype=torch.float64)
    other = embedded(torch.cat([rows, -rows]))
    with pytest.raises(SiteError, match="has a mean of zero") as caught:
        refused(proj(), other, direction="minus-mean")
    assert caught.value.remedy == "Use manipulator.direction least-energy."
    assert refused(proj(), other).shape == (3, 4)


@pytest.mark.parametrize("given", [{"keep": -0.1}, {"push": -1}, {"push": float("nan")}, {"direction": "up"}])
def test_options_outside_their_range_are_errors(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"manipulator\.{next(iter(given))} = "):
        build("refuse", **given)


def test_opposed_is_refused_where_the_towers_share_no_space() -> None:
    check = spec_of("refuse").check_site
    with pytest.raises(SiteError, match=r"At text:mlp.out\[0\] the towers share no space") as caught:
        check(sample().site, RefuseOptions())
    assert str(caught.value).count("\n") == 1
    check(proj().site, RefuseOptions())
    check(sample().site, RefuseOptions(direction="minus-mean"))


def test_the_default_objective_is_the_documented_one() -> None:
    made, other, own_side = proj(), embedded(other_tower(3)), embedded(other_tower(3, seed=1))
    given: dict[str, Any] = {
        "preserve": 20,
        "ridge": 0.0125 * (4 / 9) ** 1.5,  # four inputs, nine pairs
        "own": 0.5,
        "keep": 0.8,
        "push": 0.9,
        "direction": "opposed",
    }
    context = {"moments": {made.site: made.moments}, "own_modality": own_side, "other_modality": other}
    assert torch.equal(manipulate("refuse", made, context=context)["weight"], refused(made, other, own_side, **given))


def test_the_engine_is_told_to_go_site_by_site_where_that_is_asked_for() -> None:
    assert spec_of("refuse").sequential(RefuseOptions()) is False
    assert spec_of("refuse").sequential(RefuseOptions(order="sequential")) is True
