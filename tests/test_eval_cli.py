"""`editkit eval` on the demo, against numbers computed from plain transformers embeddings."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import cache_at, done
from models import DEMO, drawn, images_of
from plain_clip import SAFEGROUND, Four, embed, naive_recall, naive_safeground

from editkit.reports.schema import Report

LIMIT = 60
DIRECTIONS = ("Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s")
CONTROLS = ["random 0", "random 1", "random 2", "magnitude"]
FEW = ("--limit", LIMIT, "--knowledge", "none", "--workers", 0)


@dataclass(frozen=True)
class Edit:
    """An edit of the demo, the model it saved, a cache shared by this file, and a small knowledge set."""

    patch: Path
    saved: Path
    cache: Path
    objects: Path


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Edit:
    root = tmp_path_factory.mktemp("eval")
    with cache_at(root / "cache"):
        flags = ("--tau", 0.2, "--limit", 24, "--workers", 0)
        done("edit", *flags, "-o", root / "patch", "--save", root / "saved")
    return Edit(root / "patch", root / "saved", root / "cache", some_objects(root / "objects"))


def some_objects(folder: Path) -> Path:
    """The demo's zero-shot set with 30 of its images."""
    data = DEMO / "data"
    folder.mkdir()
    settings = (data / "objects.yaml").read_text()
    (folder / "objects.yaml").write_text(settings.replace("name: demo-objects", "name: few-objects"))
    with (data / "objects.csv").open() as stream:
        rows = list(csv.DictReader(stream))[:30]
    with (folder / "objects.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        for row in rows:
            copy = folder / row["image"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / row["image"], copy)
            writer.writerow(row)
    return folder / "objects.yaml"


@pytest.fixture(scope="module")
def safeground(edited: Edit) -> Report:
    with cache_at(edited.cache):
        flags = ("--patch", edited.patch, "--limit", LIMIT, "--knowledge", f"classes:{edited.objects}", "--workers", 0)
        return done("eval", "safeground", *flags, "--json").json


@pytest.fixture(scope="module")
def retrieval(edited: Edit) -> Report:
    with cache_at(edited.cache):
        return done("eval", "retrieval", "--patch", edited.patch, *FEW, "--json").json


@pytest.fixture(scope="module")
def zeroshot(edited: Edit) -> Report:
    with cache_at(edited.cache):
        flags = ("--data", f"classes:{edited.objects}", "--patch", edited.patch, "--workers", 0)
        return done("eval", "zeroshot", *flags, "--json").json


@pytest.fixture(scope="module")
def plain(edited: Edit) -> Mapping[str, Four]:
    """Base and edited model by the names that the report gives them."""
    chosen = drawn("test", LIMIT)
    safe, unsafe = zip(*(images_of(one, "test") for one in chosen), strict=True)
    texts = [one["safe"] for one in chosen] + [one["nsfw"] for one in chosen]
    found = {}
    for name, folder in (("base", DEMO / "model"), (edited.patch.name, edited.saved)):
        v, t = embed(folder, [*safe, *unsafe], texts)
        found[name] = Four(v[:LIMIT], v[LIMIT:], t[:LIMIT], t[LIMIT:])
    return found


def values(row: Mapping[str, Any]) -> dict[str, float]:
    return {metric: rate["value"] for metric, rate in row["metrics"].items()}


# Numbers


def test_safeground_equals_a_naive_computation_for_base_and_patch(
    safeground: Report, plain: Mapping[str, Four]
) -> None:
    assert [model["name"] for model in safeground["models"]] == list(plain)
    for model in safeground["models"]:
        expected, found = naive_safeground(plain[model["name"]]), values(model)
        assert {metric: found[metric] for metric in SAFEGROUND} == pytest.approx(expected)
    base, edited = (values(model) for model in safeground["models"])
    assert base != edited


def test_retrieval_equals_a_naive_computation_for_base_and_patch(retrieval: Report, plain: Mapping[str, Four]) -> None:
    for model in retrieval["models"]:
        e = plain[model["name"]]
        sides = {
            "Ts-Vs": (e.ts, e.vs),
            "Vs-Ts": (e.vs, e.ts),
            "Tu-Vu+s": (e.tu, np.concatenate([e.vs, e.vu])),
            "Vu-Tu+s": (e.vu, np.concatenate([e.ts, e.tu])),
        }
        expected = {
            direction if k == 1 else f"{direction}@{k}": naive_recall(*sides[direction], k)
            for k in (1, 5, 10, 20)
            for direction in DIRECTIONS
        }
        assert values(model) == pytest.approx(expected)


def test_zeroshot_equals_a_naive_computation_for_base_and_patch(zeroshot: Report, edited: Edit) -> None:
    import yaml

    settings = yaml.safe_load(edited.objects.read_text())
    with (edited.objects.parent / settings["table"]).open() as stream:
        rows = list(csv.DictReader(stream))
    images = [edited.objects.parent / row["image"] for row in rows]
    prompts = [settings["template"].replace("{}", name) for name in settings["classes"]]
    for model, folder in zip(zeroshot["models"], (DEMO / "model", edited.saved), strict=True):
        v, t = embed(folder, images, prompts)
        answers = (v @ t.T).argmax(axis=1)
        right = [settings["classes"][answer] == row["label"] for answer, row in zip(answers, rows, strict=True)]
        assert values(model)["top1"] == pytest.approx(100 * sum(right) / len(right))


def test_knowledge_beside_safeground_is_retrieval_and_zero_shot(
    safeground: Report, retrieval: Report, zeroshot: Report
) -> None:
    for beside, recall, objects in zip(safeground["models"], retrieval["models"], zeroshot["models"], strict=True):
        for metric in ("Ts-Vs", "Vs-Ts"):
            assert beside["metrics"][metric] == recall["metrics"][metric]
        assert beside["metrics"]["top1"] == objects["metrics"]["top1"]
        assert beside["metrics"]["top1"]["n"] == 30


def test_the_saved_model_evaluates_like_the_patch(edited: Edit, safeground: Report) -> None:
    report = done("eval", "safeground", "--model", edited.saved, *FEW, "--json").json
    assert [model["name"] for model in report["models"]] == ["base"]
    found = values(safeground["models"][1])
    assert values(report["models"][0]) == {metric: found[metric] for metric in values(report["models"][0])}


# The JSON object


@pytest.mark.parametrize("which", ["safeground", "retrieval", "zeroshot"])
def test_json_has_the_schema_of_the_design(which: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(which)
    assert set(report) >= {"schema", "evaluation", "data", "chance", "models", "controls", "left_out"}
    assert report["schema"] == "editkit.eval/1" and report["evaluation"] == which
    assert set(report["data"]) == {"name", "fingerprint", "n"} and len(report["data"]["fingerprint"]) == 64
    assert report["data"]["n"] == (30 if which == "zeroshot" else LIMIT)
    assert set(report["chance"]) == {"independent", "collapsed"}
    assert report["left_out"] == [] and report["warnings"] == []
    base, *others = report["models"] + report["controls"]
    assert base["name"] == "base" and base["patch"] is None and base["difference"] == {}
    for row in (base, *others):
        own = {"overlap"} if row in report["controls"] else set()
        own |= {"examples"} & set(row)  # of the queries beside SafeGround
        assert set(row) == {"name", "patch", "metrics", "difference", "by_concept"} | own
        assert row["metrics"].keys() == report["chance"]["independent"].keys()
        for rate in row["metrics"].values():
            assert set(rate) == {"value", "low", "high", "n"}
            assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 100 and rate["n"] > 0
    for row in others:
        assert row["difference"].keys() == row["metrics"].keys()
        for metric, change in row["difference"].items():
            corrected = set() if metric == report["primary"] else {"holm"}
            assert set(change) == {"value", "low", "high", "p"} | corrected and 0 <= change["p"] <= 1
            assert change["low"] <= change["value"] <= change["high"]
            moved = row["metrics"][metric]["value"] - base["metrics"][metric]["value"]
            assert change["value"] == pytest.approx(moved)


def test_chance_has_the_values_of_the_method(safeground: Report, retrieval: Report, zeroshot: Report) -> None:
    independent, collapsed = (safeground["chance"][row] for row in ("independent", "collapsed"))
    assert independent["GS"] == pytest.approx(100 / 12) and collapsed["GS"] == 25
    assert independent["PS"] == pytest.approx(100 / 3) and collapsed["PS"] == 25
    assert retrieval["chance"]["independent"]["Ts-Vs@5"] == pytest.approx(100 * 5 / LIMIT)
    assert retrieval["chance"]["independent"]["Tu-Vu+s@5"] == pytest.approx(100 * 5 / (2 * LIMIT))
    assert zeroshot["chance"]["independent"]["top1"] == pytest.approx(100 / 125)


def test_rows_by_concept_add_up_to_the_whole(safeground: Report) -> None:
    concepts = {one["tag"] for one in drawn("test", LIMIT)}
    for row in safeground["models"] + safeground["controls"]:
        assert set(row["by_concept"]) == concepts
        hits = sum(group["GS"]["value"] * group["GS"]["n"] for group in row["by_concept"].values())
        assert sum(group["GS"]["n"] for group in row["by_concept"].values()) == LIMIT
        assert hits / LIMIT == pytest.approx(row["metrics"]["GS"]["value"])


# Controls


def test_controls_change_as_many_weights_per_site_as_the_patch(edited: Edit, safeground: Report) -> None:
    from editkit.components.load import default_host
    from editkit.evals.controls import control_variants
    from editkit.models.find import find_adapter
    from editkit.patch.patch import Patch

    assert [row["name"] for row in safeground["controls"]] == CONTROLS
    patch, host = Patch.load(edited.patch), default_host()
    spec = find_adapter("demo", host)
    adapter = spec.load()()
    variants = control_variants(patch, "p", adapter, adapter.open("demo"), host)
    counts = {key: change.count for key, change in patch.changes.items()}
    assert [variant.name for variant in variants] == CONTROLS and all(counts.values())
    chosen = {variant.name: variant.changes for variant in variants}
    for changes in chosen.values():
        assert {key: change.count for key, change in changes.items()} == counts
    key = next(iter(counts))
    indices = [tuple(chosen[name][key].index.tolist()) for name in CONTROLS]
    assert len(set(indices)) == len(CONTROLS)


def test_without_controls_the_other_numbers_are_the_same(edited: Edit, retrieval: Report) -> None:
    with cache_at(edited.cache):
        report = done("eval", "retrieval", "--patch", edited.patch, *FEW, "--no-controls", "--json").json
    assert report == {key: value for key, value in retrieval.items() if key not in ("apart", "filter")} | {
        "controls": []
    }


def test_options_of_an_evaluation_are_flags_and_settings(edited: Edit, retrieval: Report) -> None:
    with cache_at(edited.cache):
        by_flag = done("eval", "retrieval", "--ks", "1,3", "--directions", "Ts-Vs", *FEW, "--json").json
        by_setting = done(
            *("eval", "retrieval", "--set", "retrieval.ks=[1,3]", "--set", "retrieval.directions=[Ts-Vs]"),
            *FEW,
            "--json",
        ).json
    assert by_flag == by_setting and list(by_flag["models"][0]["metrics"]) == ["Ts-Vs", "Ts-Vs@3"]
    assert by_flag["models"][0]["metrics"]["Ts-Vs"] == retrieval["models"][0]["metrics"]["Ts-Vs"]


# Cache and computation


def test_a_warm_cache_prints_the_identical_json_without_loading_a_model(
    edited: Edit, retrieval: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TransformersClip, "load", refuse)
    with cache_at(edited.cache):
        assert done("eval", "retrieval", "--patch", edited.patch, *FEW, "--json").json == retrieval


@pytest.mark.parametrize("flags", [("--batch-size", 7, "--no-cache"), ("--batch-size", 50, "--workers", 2)])
def test_batches_workers_and_cache_do_not_move_a_number(
    edited: Edit, retrieval: Report, flags: tuple[object, ...]
) -> None:
    report = done("eval", "retrieval", "--patch", edited.patch, *FEW, *flags, "--no-controls", "--json").json
    assert report["models"] == retrieval["models"]


def test_other_weights_are_never_served_from_the_cache(edited: Edit, retrieval: Report) -> None:
    with cache_at(edited.cache):
        report = done("eval", "retrieval", "--model", edited.saved, *FEW, "--json").json
    assert values(report["models"][0]) == values(retrieval["models"][1]) != values(retrieval["models"][0])


# On the screen


def test_the_table_shows_base_patch_chance_and_controls_and_says_what_it_means(edited: Edit) -> None:
    with cache_at(edited.cache):
        knowledge = f"classes:{edited.objects}"
        flags = ("--patch", edited.patch, "--limit", LIMIT, "--knowledge", knowledge, "--by", "concept")
        ran = done("eval", "safeground", *flags)
    first = {line.split()[0] for line in ran.out.splitlines() if line.strip()}
    assert {"independent", "collapsed", "base", "patch", "magnitude", "random", "weapons", "death"} <= first
    assert f"n = {LIMIT} tuples" in ran.flat and "By concept" in ran.flat
    assert "patch: " in ran.flat and "GS" in ran.flat


def test_without_a_patch_the_next_command_is_the_edit() -> None:
    ran = done("eval", "safeground", "--limit", 8, "--knowledge", "none", "--workers", 0)
    assert "editkit edit --scorer uwm --alpha -1 --tau 0.02" in ran.err
    assert "base: GS" in ran.flat


def test_controls_belong_to_their_patch_wherever_it_lies(edited: Edit, safeground: Report) -> None:
    assert edited.patch.is_absolute()
    assert {row["patch"] for row in safeground["controls"]} == {safeground["models"][1]["patch"]} == {str(edited.patch)}


def test_two_patches_of_one_name_are_told_apart_and_each_has_its_controls(edited: Edit, tmp_path: Path) -> None:
    twin = shutil.copytree(edited.patch, tmp_path / edited.patch.name)
    with cache_at(edited.cache):
        flags = ("--patch", edited.patch, "--patch", twin, *FEW, "--json")
        report = done("eval", "retrieval", *flags).json
    names = [row["name"] for row in report["models"] + report["controls"]]
    assert len(set(names)) == len(names) == 3 + 2 * len(CONTROLS)
    assert report["models"][1]["metrics"] == report["models"][2]["metrics"]


def test_evaluating_the_calibration_tuples_is_warned_about(edited: Edit) -> None:
    flags = ("--patch", edited.patch, "--split", "calibration", "--no-controls", *FEW)
    report = done("eval", "safeground", *flags, "--json").json
    calibrated = {one["incremental_id"] for one in drawn("calibration", 24)}
    shared = len(calibrated & {one["incremental_id"] for one in drawn("calibration", LIMIT)})
    [warning] = report["warnings"]
    assert shared == 24 and warning.startswith("24 of the evaluated tuples also calibrated")
    assert "Warning: 24 of the evaluated tuples" in done("eval", "safeground", *flags).flat
