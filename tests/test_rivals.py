"""UCE and SPEED are fits of `redirect`: their own equations, on the pairs one by one, give the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import done, sha
from manipulator_samples import EVERY_SHAPE, Sample, manipulate, sample
from torch import Tensor

from editkit.recipes.catalogue import find_recipe
from editkit.recipes.layers import read_recipe

SPEED_LIMIT = 0.02


def others(made: Sample) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(5, made.site.shape[1], generator=draw, dtype=torch.float64) + 1


def outer_mean(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([torch.outer(a, b) for a, b in zip(x, y, strict=True)]).mean(dim=0)


def options_of(recipe: str) -> dict[str, Any]:
    layer = read_recipe(find_recipe(recipe).path)
    own = {path.removeprefix("manipulator."): value for path, value in layer.items() if path.startswith("manipulator.")}
    assert own.pop("name") == "redirect"
    return own


def redirected(made: Sample, preserved: Tensor, **options: Any) -> Tensor:
    moments = replace(made.moments, preserved=outer_mean(preserved, preserved))
    return manipulate("redirect", made, context={"moments": {made.site: moments}}, **options)["weight"]


@EVERY_SHAPE
def test_the_recipe_uce_is_unified_concept_editing(shape: tuple[int, int]) -> None:
    made = sample(shape, pairs=12)
    rows = others(made)
    targets = made.safe @ made.weight.T  # v_i*, one a row
    first, second = outer_mean(targets, made.unsafe), outer_mean(made.unsafe, made.unsafe)
    for kept in (made.safe, rows):
        first = first + outer_mean(kept @ made.weight.T, kept)
        second = second + outer_mean(kept, kept)
    found = redirected(made, rows, **options_of("rivals/redirect-uce") | {"ridge": 1e-12})
    torch.testing.assert_close(found, first @ torch.linalg.inv(second), rtol=1e-6, atol=1e-8)


def test_its_ridge_is_the_regulariser_that_draws_towards_the_old_weight() -> None:
    made = sample((3, 5))
    rows, ridge = others(made), 0.3
    z_uu, stays = outer_mean(made.unsafe, made.unsafe), outer_mean(made.safe, made.safe) + outer_mean(rows, rows)
    regulariser = ridge * torch.eye(5, dtype=torch.float64) * (z_uu + stays).trace() / 5
    first = made.weight @ (outer_mean(made.safe, made.unsafe) + stays + regulariser)
    found = redirected(made, rows, **options_of("rivals/redirect-uce") | {"ridge": ridge})
    torch.testing.assert_close(found, first @ torch.linalg.inv(z_uu + stays + regulariser))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (6, 2), (2, 7)])
def test_the_recipe_speed_is_the_step_within_the_null_space_of_what_is_preserved(shape: tuple[int, int]) -> None:
    made = sample(shape, pairs=12)
    sizes = torch.logspace(0, -2, shape[1], dtype=torch.float64)
    made = replace(made, safe=made.safe * sizes)
    rows = others(made) * sizes
    energies, directions = torch.linalg.eigh(outer_mean(made.safe, made.safe) + outer_mean(rows, rows))
    quiet = directions[:, energies.cumsum(0) <= SPEED_LIMIT * energies.sum()]
    assert 0 < quiet.shape[1] < shape[1]
    projection = quiet @ quiet.T  # P
    z_uu = outer_mean(made.unsafe, made.unsafe)
    gap = outer_mean((made.safe - made.unsafe) @ made.weight.T, made.unsafe)
    ridge = 0.01
    system = projection @ z_uu @ projection + ridge * z_uu.trace() / shape[1] * torch.eye(shape[1], dtype=torch.float64)
    expected = made.weight + gap @ projection @ torch.linalg.inv(system)
    found = redirected(made, rows, **options_of("rivals/redirect-speed") | {"ridge": ridge, "null_space": SPEED_LIMIT})
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["uce", "speed"])
def test_the_recipes_edit_the_demo(name: str, tmp_path: Path) -> None:
    flags = ("--limit", 24, "--workers", 0, "--recipe", f"rivals/redirect-{name}")
    record = done("edit", *flags, "-o", tmp_path / "p", "--json").json["record"]
    assert record["recipe"]["preserve"] == ["words"] and record["preserved"]["texts"]
    assert {site["site"] for site in record["sites"]} == {"text:proj", "vision:proj"}
    assert len(sha(tmp_path / "p" / "patch.safetensors")) == 64
