"""`editkit eval zeroshot` on benchmarks in their published layouts, against numbers from plain transformers embeddings.

The sets have the layouts of the published ones and images and classes of the demo, which its model can tell apart.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import zeroshot_layouts as layouts
from command_line import as_error, cache_at, done, run
from models import DEMO
from plain_clip import embed

from editkit.evals.statistics import wilson
from editkit.reports.schema import checker

CONTROLS = ["random 0", "random 1", "random 2", "magnitude"]
WIDE = ("top1", "top5", "mean_per_class")
Image = tuple[Path, str]
"""An image of the demo and the name of its class."""


def demo_images() -> dict[str, list[Path]]:
    """The demo's images by class, classes with underscores as benchmarks write them."""
    found: dict[str, list[Path]] = {}
    with (DEMO / "data" / "objects.csv").open() as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["label"].replace(" ", "_"), []).append(DEMO / "data" / row["image"])
    return found


@dataclass(frozen=True)
class Copy:
    """A set on disk: per image its file and its class, all classes in order, and the prompts of one class."""

    images: list[Image]
    classes: list[str]
    templates: tuple[str, ...]

    def prompts(self) -> list[str]:
        return [template.replace("{}", name) for name in self.classes for template in self.templates]


def take(counts: Mapping[str, int]) -> list[Image]:
    return [(image, name) for name, count in counts.items() for image in demo_images()[name][:count]]


def write_eurosat(root: Path) -> Copy:
    """Class folders of very different sizes."""
    counts = dict(zip(sorted(demo_images())[:8], (9, 1, 2, 1, 5, 1, 2, 3), strict=True))
    chosen = take(counts)
    for image, name in chosen:
        copy = root / "eurosat" / "2750" / name / image.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copyfile(image, copy)
    return Copy(chosen, list(counts), ("a centered satellite photo of {}.",))


def write_dtd(root: Path) -> Copy:
    """Ten partitions that repeat nine images."""
    counts = dict.fromkeys(sorted(demo_images())[8:17], 1)
    chosen = take(counts)
    folder = root / "dtd" / "dtd"
    names = [f"{name}/{image.name}" for image, name in chosen]
    for (image, _), name in zip(chosen, names, strict=True):
        (folder / "images" / name).parent.mkdir(parents=True)
        copyfile(image, folder / "images" / name)
    scored = []
    for partition in range(1, 11):
        here = [index for index in range(9) if (index + partition) % 3]
        layouts.lines(folder / "labels" / f"test{partition}.txt", [names[index] for index in here])
        scored += [chosen[index] for index in here]
    return Copy(scored, list(counts), ("a photo of a {} texture.",))


def write_pets(root: Path) -> Copy:
    """Shards with a prompt ensemble."""
    counts = dict.fromkeys(sorted(demo_images())[4:16], 2)
    chosen, names = take(counts), list(counts)
    spoken = [name.replace("_", " ") for name in names]
    samples = [(image.suffix[1:], image.read_bytes(), names.index(name)) for image, name in chosen]
    templates = ("a photo of a {c}.", "there is a {c}", "{c}")
    layouts.shards(root / "wds_vtab-pets", spoken, templates, [samples[:10], samples[10:]])
    asked = tuple(template.replace("{c}", "{}") for template in templates)
    return Copy([(image, name.replace("_", " ")) for image, name in chosen], spoken, asked)


@dataclass(frozen=True)
class Stage:
    root: Path
    patch: Path
    saved: Path
    cache: Path
    eurosat: Copy
    dtd: Copy
    pets: Copy


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    place = tmp_path_factory.mktemp("zeroshot")
    root, cache = place / "sets", place / "cache"
    copies = write_eurosat(root), write_dtd(root), write_pets(root)
    with cache_at(cache):
        done("edit", "--tau", 0.25, "--limit", 24, "--workers", 0, "-o", place / "patch", "--save", place / "saved")
    return Stage(root, place / "patch", place / "saved", cache, *copies)


@pytest.fixture(scope="module")
def uwm(stage: Stage) -> Any:
    with cache_at(stage.cache):
        return report(stage, "--patch", stage.patch)


@pytest.fixture(scope="module")
def clip(stage: Stage) -> Any:
    with cache_at(stage.cache):
        return report(stage, "--profile", "clip-benchmark", "--patch", stage.patch)


def report(stage: Stage, *flags: object) -> Any:
    return done("eval", "zeroshot", "--data", f"zeroshot:{stage.root}", "--workers", 0, *flags, "--json").json


def naive(folder: Path, copy: Copy, spoken: Sequence[str]) -> dict[str, float]:
    """The three rates in per cent, one image after the other."""
    prompts = [template.replace("{}", name) for name in spoken for template in copy.templates]
    images, texts = embed(folder, [image for image, _ in copy.images], prompts)
    k = len(copy.templates)
    classes = []
    for c in range(len(spoken)):
        mean = sum(texts[c * k : (c + 1) * k]) / k
        classes.append(mean / np.linalg.norm(mean))
    places = []
    for image, (_, name) in zip(images, copy.images, strict=True):
        scores = [float(image @ one) for one in classes]
        places.append(sorted(range(len(scores)), key=lambda c: -scores[c]).index(copy.classes.index(name)))
    of_class: dict[str, list[bool]] = {}
    for place, (_, name) in zip(places, copy.images, strict=True):
        of_class.setdefault(name, []).append(place == 0)
    return {
        "top1": 100 * sum(place == 0 for place in places) / len(places),
        "top5": 100 * sum(place < 5 for place in places) / len(places),
        "mean_per_class": 100 * sum(sum(hits) / len(hits) for hits in of_class.values()) / len(of_class),
    }


def spaced(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def values(row: Mapping[str, Any]) -> dict[str, float]:
    return {metric: rate["value"] for metric, rate in row["metrics"].items()}


# Numbers


def test_every_set_and_their_mean_equal_a_naive_computation(stage: Stage, uwm: Any) -> None:
    assert [part["key"] for part in uwm["sets"]] == ["eurosat", "dtd"]
    for number, folder in enumerate((DEMO / "model", stage.saved)):
        expected = [naive(folder, copy, spaced(copy.classes)) for copy in (stage.eurosat, stage.dtd)]
        for part, wanted in zip(uwm["sets"], expected, strict=True):
            assert values(part["models"][number]) == pytest.approx(wanted)
        means = {metric: sum(one[metric] for one in expected) / 2 for metric in WIDE}
        assert values(uwm["models"][number]) == pytest.approx(means)
    base, edited = (values(model) for model in uwm["models"])
    assert base["top1"] > edited["top1"] != edited["mean_per_class"]


def test_an_ensemble_of_prompts_equals_a_naive_computation(stage: Stage, clip: Any) -> None:
    [part] = clip["sets"]
    for model, folder in zip(part["models"], (DEMO / "model", stage.saved), strict=True):
        assert values(model) == pytest.approx(naive(folder, stage.pets, stage.pets.classes))
    assert values(clip["models"][0]) == pytest.approx(values(part["models"][0]))


def test_an_ensemble_larger_than_what_is_held_at_once_gives_the_same(
    stage: Stage, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editkit.evals.run_classes.PROMPTS_AT_ONCE", 7)  # two classes of three prompts
    again = report(stage, "--profile", "clip-benchmark", "--patch", stage.patch, "--no-controls")
    assert again["models"] == clip["models"]


def test_chance_is_the_mean_of_the_sets(stage: Stage, uwm: Any) -> None:
    row = uwm["chance"]["independent"]
    assert row["top1"] == row["mean_per_class"] == pytest.approx(100 * (1 / 8 + 1 / 9) / 2)
    assert row["top5"] == pytest.approx(100 * (5 / 8 + 5 / 9) / 2)


def test_repeated_images_are_counted_but_make_no_interval_shorter(stage: Stage, uwm: Any) -> None:
    dtd = uwm["sets"][1]
    rate = dtd["models"][0]["metrics"]["top1"]
    assert rate["n"] == dtd["data"]["n"] == len(stage.dtd.images) == 60
    assert rate["value"] == 100 and rate["low"] == pytest.approx(100 * wilson(9, 9)[0], abs=0.5)
    assert rate["low"] < 100 * wilson(60, 60)[0] - 20
    assert any("60 images are 9 distinct ones" in warning for warning in uwm["warnings"])


def test_the_draw_limits_each_set(stage: Stage) -> None:
    few = report(stage, "--limit", 6)
    assert [part["data"]["n"] for part in few["sets"]] == [6, 6] and few["data"]["n"] == 12


# The JSON object


@pytest.mark.parametrize("which", ["uwm", "clip"])
def test_the_json_object_is_a_report_of_the_mean_with_one_of_each_set(
    which: str, stage: Stage, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(which)
    for one in (made, *made["sets"]):
        checker().validate_python(one)
        assert [row["name"] for row in one["models"]] == ["base", "patch"]
        assert [row["name"] for row in one["controls"]] == CONTROLS
        for row in (*one["models"][1:], *one["controls"]):
            for metric, change in row["difference"].items():
                assert change["low"] <= change["value"] <= change["high"]
                moved = row["metrics"][metric]["value"] - one["models"][0]["metrics"][metric]["value"]
                assert change["value"] == pytest.approx(moved)
    assert made["profile"] == {"uwm": "uwm", "clip": "clip-benchmark"}[which]
    assert made["of"] == len(made["sets"]) + len(made["missing"]) == {"uwm": 17, "clip": 15}[which]
    assert made["data"]["n"] == sum(part["data"]["n"] for part in made["sets"])
    assert len({one["data"]["fingerprint"] for one in (made, *made["sets"])}) == len(made["sets"]) + 1


def test_one_set_of_ones_own_has_all_metrics_and_rows_by_class(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        f"name: own\ntemplate: 'a centered satellite photo of {{}}.'\nfolder: {stage.root}/eurosat/2750\n"
    )
    flags = ("--patch", stage.patch, "--no-controls", "--workers", 0, "--json")
    made = done("eval", "zeroshot", "--data", f"classes:{tmp_path}/own.yaml", *flags).json
    for model, folder in zip(made["models"], (DEMO / "model", stage.saved), strict=True):
        assert values(model) == pytest.approx(naive(folder, stage.eurosat, spaced(stage.eurosat.classes)))
        assert {name: rates["top1"]["n"] for name, rates in model["by_concept"].items()} == Counter(
            name for _, name in stage.eurosat.images
        )
        assert set(model["metrics"]) == set(WIDE)


# Computation


def test_every_image_is_decoded_once_for_all_models(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from editkit.models import batches

    decoded: list[str] = []
    original = batches.open_rgb
    monkeypatch.setattr(batches, "open_rgb", lambda image: decoded.append(str(image)) or original(image))
    report(stage, "--patch", stage.patch)
    assert len(decoded) == len(stage.eurosat.images) + 9


def test_a_warm_cache_gives_the_same_without_loading_a_model(
    stage: Stage, uwm: Any, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit_clip.transformers_format import TransformersClip

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(TransformersClip, "load", refuse)
    with cache_at(stage.cache):
        assert report(stage, "--patch", stage.patch)["sets"] == uwm["sets"]
        assert report(stage, "--profile", "clip-benchmark", "--patch", stage.patch)["sets"] == clip["sets"]


def test_batches_and_workers_do_not_move_a_number(stage: Stage, uwm: Any) -> None:
    again = report(stage, "--patch", stage.patch, "--no-controls", "--batch-size", 5, "--workers", 2, "--no-cache")
    assert again["models"] == uwm["models"]


# On the screen


def test_the_tables_have_sets_in_rows_models_in_columns_and_the_mean_last(stage: Stage) -> None:
    with cache_at(stage.cache):
        ran = done("eval", "zeroshot", "--data", f"zeroshot:{stage.root}", "--patch", stage.patch, "--workers", 0)
    printed = ran.out.splitlines()
    assert max(map(len, printed)) <= 80
    rows = [line.split()[0] for line in printed if line.startswith(("EuroSAT ", "DTD ", "Mean "))]
    assert rows == ["EuroSAT", "DTD", "Mean"] * 2 + ["Mean"]  # rates, changes, and the note on the mean
    assert "profile uwm: 2 of 17 sets, n = 84 images" in ran.flat and "4 controls" in ran.flat
    assert all(name in ran.flat for name in ("n chance base patch", "random 2", "magnitude"))
    assert "Mean over 2 of 17 sets" in ran.flat and "Not computed: imagenet, imagenet-v2" in ran.flat
    assert "EuroSAT: this copy has 24 images (the whole set has 27,000)" in ran.flat
    assert "EuroSAT: 24 images, 8 classes" in ran.err


def test_a_model_alone_is_shown_with_intervals_and_chance(stage: Stage) -> None:
    with cache_at(stage.cache):
        ran = done("eval", "zeroshot", "--data", f"zeroshot:{stage.root}", "--sets", "dtd", "--workers", 0)
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "n chance top-1 top-5 mean per class" in ran.flat and "DTD 60 11.1" in ran.flat
    assert "Not computed" not in ran.flat  # the other sets were not wanted


def test_sets_that_cannot_be_had_are_refused_in_two_lines(stage: Stage) -> None:
    data = ("--data", f"zeroshot:{stage.root}")
    assert "Did you mean 'pets'?" in as_error(run("eval", "zeroshot", *data, "--sets", "dtd,pest"))
    assert "Food101 is not in" in as_error(run("eval", "zeroshot", *data, "--sets", "food101"))
    assert "--sets chooses among sets" in as_error(run("eval", "zeroshot", "--sets", "dtd"))
    assert "data.sets is not an option" in as_error(run("eval", "zeroshot", "--data", "demo-objects", "--sets", "dtd"))
    assert "has no splits" in as_error(run("eval", "zeroshot", *data, "--split", "val"))
    assert "holds labelled images" in as_error(run("edit", *data))
    assert "should be 'uwm' or 'clip-benchmark'" in as_error(run("eval", "zeroshot", *data, "--profile", "uwn"))


def test_a_damaged_image_stops_the_run_or_is_left_out_by_name(stage: Stage, tmp_path: Path) -> None:
    copy = write_dtd(tmp_path)
    broken = next((tmp_path / "dtd").rglob("*.jpg"))
    broken.write_bytes(b"no image")
    flags = ("--data", f"zeroshot:{tmp_path}", "--workers", 0, "--no-cache")
    failed = run("eval", "zeroshot", *flags)
    assert failed.code == 1 and broken.name in failed.err and failed.out == ""
    made = done("eval", "zeroshot", *flags, "--on-bad-item", "skip", "--json").json
    times = sum(image.name == broken.name for image, _ in copy.images)
    assert made["data"]["n"] == 60 - times and len(made["left_out"]) == times
    assert all(item["id"].startswith("dtd: ") and broken.name in item["id"] for item in made["left_out"])
