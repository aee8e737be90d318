"""`editkit plan` says what `edit` would do, from headers, configuration and the list of tuples alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import done, run
from models import table, tiny_clip
from tiny_checkpoints import listing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("plan") / "model")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return table(tmp_path / "pairs", 4)


def cache_states(*flags: object) -> set[str]:
    return {group["cache"] for group in done("plan", "--json", *flags).json["groups"]}


def without_weights(model: Path, copy: Path) -> Path:
    """A copy whose data region is nothing but NaN: any weight that is read shows."""
    shutil.copytree(model, copy)
    whole = bytearray((copy / "model.safetensors").read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    whole[start:] = b"\xff" * (len(whole) - start)
    (copy / "model.safetensors").write_bytes(whole)
    return copy


def test_a_plan_reads_no_weight(model: Path, pairs: Path, tmp_path: Path) -> None:
    hollow = without_weights(model, tmp_path / "hollow")
    planned, expected = (done("plan", "--model", folder, "--data", pairs, "--json").json for folder in (hollow, model))
    assert planned["groups"] == expected["groups"] and planned["memory"] == expected["memory"]
    assert run("edit", "--model", hollow, "--data", pairs, "--workers", 0, "-o", tmp_path / "p").code == 1


def test_a_plan_writes_nothing(pairs: Path, model: Path, tmp_path: Path, own_cache: Path) -> None:
    before = listing(tmp_path)
    done("plan", "--model", model, "--data", pairs, "-o", tmp_path / "p", "--save", tmp_path / "s")
    assert listing(tmp_path) == before and listing(own_cache) == []


def test_the_recipe_is_printed_with_the_origin_of_every_value(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("selector: {name: adaptive, tau: 0.1}\nscorer: {aggregation: means}\n")
    flags = ("--recipe", tmp_path / "recipe.yaml", "--tau", 0.3, "--set", "calibration.tokens=all")
    lines = [line.split() for line in done("plan", *flags).out.splitlines()]
    rows = {words[0]: words[1:] for words in lines if words}
    assert rows["selector.tau"] == ["0.3", "flag"]
    assert rows["scorer.aggregation"] == ["means", "recipe", "file", "recipe.yaml"]
    assert rows["calibration.tokens"] == ["all", "--set"]
    assert rows["targets"][-1] == "adapter"
    assert rows["calibration.split"] == ["calibration", "data", "set"]
    assert rows["manipulator.alpha"] == ["-1.0", "default"]
    assert rows["model"] == ["demo", "default"]


def test_json_is_one_object_with_sites_data_and_memory() -> None:
    ran = done("plan", "--json", "--limit", 10)
    planned: dict[str, Any] = json.loads(ran.out)
    assert planned["schema"] == "editkit.plan/1"
    assert planned["data"] == {"name": "demo", "split": "calibration", "n": 10}
    assert [site["site"] for site in planned["sites"]] == [
        *(f"text:attn.out[{layer}]" for layer in range(3)),
        *(f"vision:mlp.out[{layer}]" for layer in range(4)),
    ]
    assert {group["sites"]: group["weights"] for group in planned["groups"]} == {
        "text:attn.out": 3 * 160 * 160,
        "vision:mlp.out": 4 * 192 * 768,
    }
    assert all(size > 0 for size in planned["memory"].values())
    assert planned["origins"]["calibration.limit"] == "flag"


def test_the_estimate_of_memory_covers_the_weights_and_follows_the_dtype(model: Path, pairs: Path) -> None:
    flags = ("plan", "--json", "--model", model, "--data", pairs)
    full, half = (done(*flags, "--dtype", dtype).json["memory"] for dtype in ("float32", "float16"))
    assert 0 <= (model / "model.safetensors").stat().st_size - full["model"] < 100_000  # all but the header
    assert half["model"] * 2 == full["model"] and half["scores"] == full["scores"] > 0


def test_a_dry_run_is_the_plan(tmp_path: Path) -> None:
    flags = ("--limit", 12, "--tau", 0.1, "--target", "vision:mlp.out[1:3]", "-o", tmp_path / "p")
    assert done("edit", "--dry-run", *flags).out == done("plan", *flags).out
    assert done("edit", "--dry-run", "--json", *flags).json == done("plan", "--json", *flags).json
    assert listing(tmp_path) == []


def test_the_recipe_of_the_plan_is_the_recipe_of_the_patch(model: Path, pairs: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--data", pairs, "--workers", 0, "--tau", 0.1)
    planned = done("plan", "--json", *flags).json
    record = done("edit", "--json", *flags, "-o", tmp_path / "p").json["record"]
    assert planned["recipe"] == record["recipe"] and planned["recipe_digest"] == record["recipe_digest"]
    assert [site["site"] for site in planned["sites"]] == [site["site"] for site in record["sites"]]


def test_the_cache_column_is_unknown_before_an_edit_then_hit_then_miss_for_other_scores(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    flags = ("--model", model, "--data", pairs)
    assert cache_states(*flags) == {"unknown"}
    done("edit", *flags, "--workers", 0, "-o", tmp_path / "p")
    assert cache_states(*flags) == {"hit"}
    assert cache_states(*flags, "--tau", 0.5, "--alpha", 0.5, "--batch-size", 1) == {"hit"}
    assert cache_states(*flags, "--set", "scorer.aggregation=means") == {"miss"}
    assert cache_states(*flags, "--limit", 3) == {"miss"}
    assert cache_states(*flags, "--dtype", "float16") == {"miss"}
    assert cache_states(*flags, "--scorer", "unsafe") == {"miss"}
    assert cache_states(*flags, "--no-cache") == {"off"}
    assert cache_states(*flags, "--scorer", "magnitude") == {"not needed"}


def test_a_file_that_was_touched_since_makes_the_cache_column_unknown(pairs: Path, model: Path, tmp_path: Path) -> None:
    flags = ("--model", model, "--data", pairs)
    done("edit", *flags, "--workers", 0, "-o", tmp_path / "p")
    os.utime(pairs.parent / "safe-1.jpg", (1, 1))
    assert cache_states(*flags) == {"unknown"}
    done("edit", *flags, "--workers", 0, "-o", tmp_path / "again")
    assert cache_states(*flags) == {"hit"}


def test_an_untargeted_tower_is_named(model: Path) -> None:
    ran = done("plan", "--target", "text:attn.out")
    assert "The vision tower has no target: it is not edited." in ran.out
    assert done("plan", "--json", "--target", "text:attn.out").json["not_edited"] == ["vision"]
