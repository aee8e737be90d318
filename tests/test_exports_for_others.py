"""Runs exported with CLIP_benchmark's keys, and as a model card that the hub's own library reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import as_error, done, run
from huggingface_hub import ModelCard
from report_samples import N, benchmark, built, exported, facts, keep, measured, retrieval, run_of, safeground, zeroshot

pytestmark = pytest.mark.usefixtures("runs_here")


# CLIP_benchmark


def test_clip_benchmark_has_its_keys_and_shares() -> None:
    entries = [json.loads(line) for line in exported(keep(retrieval(), zeroshot()), "clip-benchmark").splitlines()]
    for entry in entries:
        assert {"dataset", "model", "pretrained", "task", "metrics", "language"} <= entry.keys()
    by_task = {(entry["task"], entry["pretrained"]): entry for entry in entries}
    recall, accuracy = by_task["zeroshot_retrieval", "uwm"], by_task["zeroshot_classification", "uwm"]
    assert recall["metrics"] == {
        f"{side}_retrieval_recall@{k}": 50 / N for k in (1, 5) for side in ("image", "text")
    }  # queries that are unsafe have no key there
    assert recall["dataset"] == "demo/test" and recall["model"] == "demo" and recall["n"] == N
    assert accuracy["metrics"] == {"acc1": 0.75, "acc5": 39 / 40, "mean_per_class_recall": 0.8}
    assert by_task["zeroshot_classification", ""]["metrics"]["acc1"] == 0.9


def test_image_retrieval_is_of_captions_that_ask_images() -> None:
    report = built("retrieval", {"base": {"Ts-Vs": 60, "Vs-Ts": 20}})
    [entry] = [json.loads(line) for line in exported(keep(report), "clip-benchmark").splitlines()]
    assert entry["metrics"] == {"image_retrieval_recall@1": 0.75, "text_retrieval_recall@1": 0.25}


def test_an_open_clip_name_is_model_and_checkpoint_and_an_edit_a_checkpoint_more() -> None:
    report = zeroshot(run=run_of("open_clip:ViT-L-14/openai"))
    entries = [json.loads(line) for line in exported(keep(report), "clip-benchmark").splitlines()]
    assert [(entry["model"], entry["pretrained"]) for entry in entries] == [
        ("ViT-L-14", "openai"),
        ("ViT-L-14", "openai+uwm"),
    ]


def test_clip_benchmark_objects_are_written_a_file_each() -> None:
    names = keep(safeground(), retrieval(), measured())
    done("results", "export", *names, "--format", "clip-benchmark", "-o", "cb")
    files = sorted(path.name for path in Path("cb").iterdir())
    assert files == [
        "demo-objects_demo_en_zeroshot_classification.json",
        "demo-objects_uwm_demo_en_zeroshot_classification.json",
        "demo-test_demo_en_zeroshot_retrieval.json",
        "demo-test_uwm_demo_en_zeroshot_retrieval.json",
    ]
    entry = json.loads((Path("cb") / files[3]).read_text())
    assert entry["metrics"]["image_retrieval_recall@5"] == 50 / N  # SafeGround's recall and retrieval's are one entry


def test_clip_benchmark_refuses_what_it_cannot_say() -> None:
    message = as_error(run("results", "export", *keep(safeground()), "--format", "clip-benchmark"))
    assert "has keys" in message
    other = retrieval(data=facts(fingerprint="ee" * 8))
    message = as_error(run("results", "export", *keep(retrieval(), other), "--format", "clip-benchmark"))
    assert "different data that are both called demo/test" in message


# The hub's model card


def test_the_hub_reads_the_model_card_back() -> None:
    report = safeground()
    text = exported(keep(report, retrieval(), zeroshot()), "model-index")
    card = ModelCard(text + "\n# uwm\n")
    assert card.data.model_name == "uwm" and card.data.base_model == "demo" and card.data.library_name == "editkit"
    results = {result.metric_name: result for result in card.data.eval_results or []}
    gs, recall, accuracy = results["GS"], results["Ts-Vs"], results["top1"]
    assert gs.metric_value == 25.0 and gs.dataset_name == "demo/test" and gs.task_type == "safeground"
    low, high = (round(report["models"][1]["metrics"]["GS"][end], 4) for end in ("low", "high"))
    assert gs.metric_args == {"n": N, "low": low, "high": high} and 16 < low < high < 36
    assert recall.task_type == "image-text-retrieval" and recall.metric_type == "recall_at_1"
    assert accuracy.task_type == "zero-shot-image-classification" and accuracy.metric_type == "accuracy"
    assert accuracy.metric_value == 75.0 and accuracy.dataset_name == "pets"
    assert not any(result.verified for result in results.values())


def test_a_card_of_several_edits_asks_which() -> None:
    report = built("safeground", {"base": {"GS": 4}, "uwm": {"GS": 20}, "ratio": {"GS": 30}})
    names = keep(report)
    assert "--patch: uwm, ratio" in as_error(run("results", "export", *names, "--format", "model-index"))
    card = ModelCard(exported(names, "model-index", "--patch", "ratio"))
    assert card.data.model_name == "ratio" and card.data.eval_results[0].metric_value == 37.5  # type: ignore[index]
    message = as_error(run("results", "export", *names, "--format", "model-index", "--patch", "x"))
    assert "'x'" in message and "uwm, ratio" in message


def test_a_card_never_mixes_models_that_share_a_name() -> None:
    large = run_of(identity="cd" * 32)
    message = as_error(run("results", "export", *keep(safeground(), retrieval(run=large)), "--format", "model-index"))
    assert "2 different models" in message


def test_a_card_of_a_base_has_its_own_numbers() -> None:
    report = built("safeground", {"base": {"GS": 4}})
    card = ModelCard(exported(keep(report), "model-index"))
    assert card.data.model_name == "demo" and card.data.eval_results[0].metric_value == 5.0  # type: ignore[index]


def test_sets_are_known_to_clip_benchmark_and_the_hub_by_name() -> None:
    for profile, names in (
        ("uwm", ["Oxford Pets", "Stanford Cars"]),
        ("clip-benchmark", ["wds/vtab/pets", "wds/cars"]),
    ):
        text = exported(keep(benchmark(profile)), "clip-benchmark")
        entries = [entry for entry in map(json.loads, text.splitlines()) if not entry["pretrained"]]
        assert [entry["dataset"] for entry in entries] == names
        assert entries[1]["metrics"] == {"acc1": 0.5, "mean_per_class_recall": 0.5}
    card = ModelCard(exported(keep(benchmark()), "model-index"))
    found = {(result.dataset_name, result.metric_name): result.metric_value for result in card.data.eval_results or []}
    assert found["Oxford Pets", "top1"] == 70 and found["zeroshot/uwm", "top1"] == 50
