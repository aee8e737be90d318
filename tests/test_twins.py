"""Nearest safe items as the targets of unsafe ones: which they are, and what a fit to them is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import as_error, done, run, sha
from models import table, tiny_clip
from naive import relative
from plain_clip import embed
from safetensors.torch import load_file

from editkit.editing import twins
from editkit.methods.manipulators.options import RedirectOptions

SIDES = {"text": "text", "vision": "image"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("twins") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("twins"), 9)


def rows_of(pairs: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in pairs.read_text().splitlines()]


def paired_by_hand(model: Path, pairs: Path, tower: str, folder: Path) -> Path:
    """A table with one modality, in which each unsafe item stands beside the safe one with the largest cosine."""
    rows, side = rows_of(pairs), SIDES[tower]
    named = [[row[f"{kind}_{side}"] for row in rows] for kind in ("safe", "unsafe")]
    pictures = [pairs.parent / name for name in named[0] + named[1]] if tower == "vision" else []
    made = embed(
        model, pictures or [pairs.parent / rows[0]["safe_image"]], named[0] + named[1] if not pictures else ["a"]
    )
    embedded = made[0] if tower == "vision" else made[1]
    safe, unsafe = embedded[: len(rows)], embedded[len(rows) :]
    places = [max(range(len(rows)), key=lambda j: float(safe[j] @ u)) for u in unsafe]
    assert places != list(range(len(rows)))
    home = f"{pairs.parent}/" if tower == "vision" else ""
    told = [
        {"id": row["id"], f"safe_{side}": home + named[0][place], f"unsafe_{side}": home + row[f"unsafe_{side}"]}
        for row, place in zip(rows, places, strict=True)
    ]
    folder.mkdir()
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, told)))
    return folder / "t.jsonl"


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("target", ["proj", "mlp.out[0]"])
def test_the_fit_is_that_to_pairs_made_by_hand_from_cosines(
    tower: str, target: str, model: Path, pairs: Path, tmp_path: Path
) -> None:
    by_hand = paired_by_hand(model, pairs, tower, tmp_path / "by-hand")
    # with b = 0 the safe items count as targets alone
    flags = ("--model", model, "--workers", 0, "--manipulator", "redirect", "--target", f"{tower}:{target}")
    fit = ("--set", "manipulator.preserve=0", "--set", "manipulator.ridge=0.1")
    nearest = ("--set", "manipulator.target=nearest-safe")
    done("edit", *flags, *fit, *nearest, "--data", pairs, "-o", tmp_path / "p", "--save", tmp_path / "found")
    done("edit", *flags, *fit, "--data", by_hand, "-o", tmp_path / "q", "--save", tmp_path / "expected")
    before, found, expected = (
        load_file(folder / "model.safetensors") for folder in (model, tmp_path / "found", tmp_path / "expected")
    )
    [key] = [key for key in before if not torch.equal(before[key], expected[key])]
    assert relative(found[key] - before[key], expected[key] - before[key]) < 1e-4
    assert all(torch.equal(found[other], before[other]) for other in before if other != key)


def test_what_is_to_stay_is_that_of_the_tuples_own_safe_items(model: Path, pairs: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--data", pairs, "--workers", 0, "--manipulator", "redirect", "--target", "text:proj")
    nearest = ("--set", "manipulator.target=nearest-safe")
    changes = []
    before = load_file(model / "model.safetensors")["text_projection.weight"]
    for preserve in (1e-6, 1e6):
        out = tmp_path / f"{preserve}"
        done("edit", *flags, *nearest, "--set", f"manipulator.preserve={preserve}", "-o", out, "--save", f"{out}-model")
        changes.append(load_file(f"{out}-model/model.safetensors")["text_projection.weight"] - before)
    assert float(changes[1].norm()) < 1e-2 * float(changes[0].norm())


def test_one_pairing_is_part_of_the_recipe_and_its_statistics_are_cached(
    model: Path, pairs: Path, tmp_path: Path, own_cache: Path
) -> None:
    flags = ("--model", model, "--data", pairs, "--workers", 0, "--manipulator", "redirect", "--target", "text:proj")
    nearest = (*flags, "--set", "manipulator.target=nearest-safe")
    plans = [done("plan", "--json", *one).json for one in (flags, nearest)]
    assert plans[0]["recipe_digest"] != plans[1]["recipe_digest"]
    assert [plan["passes"]["text"] for plan in plans] == [1, 2]
    assert plans[1]["memory"]["moments"] == 2 * plans[0]["memory"]["moments"]
    done("edit", *nearest, "-o", tmp_path / "p")
    kept = sorted(path for path in own_cache.rglob("*") if path.is_file())
    done("edit", *nearest, "-o", tmp_path / "again")
    assert sorted(path for path in own_cache.rglob("*") if path.is_file()) == kept
    assert sha(tmp_path / "p" / "patch.safetensors") == sha(tmp_path / "again" / "patch.safetensors")
    assert done("plan", "--json", *flags).json["cache"]["parts"][0]["state"] == "hit"


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_nearest_is_the_first_of_the_largest_products(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "ROWS", rows)
    draw = np.random.default_rng(0)
    safe, unsafe = draw.normal(size=(7, 4)), draw.normal(size=(10, 4))
    safe[5] = safe[2]
    expected = [max(range(7), key=lambda j: (float(safe[j] @ u), -j)) for u in unsafe]
    assert twins.nearest(torch.from_numpy(safe), torch.from_numpy(unsafe)).tolist() == expected


def test_the_spec_says_whose_twins_a_fit_is_of() -> None:
    assert RedirectOptions().twins() == "own" and RedirectOptions(target="nearest-safe").twins() == "nearest"


def test_another_target_is_refused(model: Path, pairs: Path, tmp_path: Path) -> None:
    flags: tuple[Any, ...] = ("--model", model, "--data", pairs, "--manipulator", "redirect")
    said = as_error(run("edit", *flags, "--set", "manipulator.target=nearest", "-o", tmp_path / "p"))
    assert "manipulator.target = 'nearest'" in said
