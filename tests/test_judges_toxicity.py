"""The judge `toxicity`: a small classifier offline, or one of transformers such as Detoxify's."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_models import saved, tokenizer_for
from transformers import BertConfig, BertForSequenceClassification

from editkit.errors import InstallError, ModelError, RecipeError
from editkit.evals.judges.options import ToxicityOptions
from editkit.evals.judges.toxicity import Toxicity

TEXTS = ["a dog runs on the beach", "you are a fucking idiot", "a naked woman having sex", ""]


def judge(**options: Any) -> Toxicity:
    return Toxicity(ToxicityOptions(**options))


# Embedded


def test_the_embedded_classifier_tells_insults_from_captions_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("profanity_check")

    def offline(*args: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", offline)
    steps: list[int] = []
    verdicts = judge(batch_size=3).judge(TEXTS, steps.append)
    assert [verdict.unsafe for verdict in verdicts] == [False, True, True, False]
    assert all(verdict.score is not None and 0 <= verdict.score <= 1 for verdict in verdicts)
    assert steps == [1] * len(TEXTS)


def test_scores_do_not_depend_on_the_batches_and_the_threshold_decides() -> None:
    pytest.importorskip("profanity_check")
    whole, single = judge().judge(TEXTS), judge(batch_size=1).judge(TEXTS)
    assert [one.score for one in whole] == pytest.approx([one.score for one in single])
    assert [verdict.unsafe for verdict in judge(threshold=0.0).judge(TEXTS)] == [True] * 4


def test_the_revision_of_the_embedded_classifier_is_its_release() -> None:
    pytest.importorskip("profanity_check")
    name, version = judge().revision.split()
    assert name == "alt-profanity-check" and version[0].isdigit()


def test_where_it_is_not_installed_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("editkit.libraries.import_module", missing)
    with pytest.raises(InstallError, match="not installed") as raised:
        judge().judge(TEXTS)
    assert raised.value.remedy == "Run: pip install alt-profanity-check"


def test_where_its_model_does_not_load_the_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise AttributeError("no sklearn.svm._classes")

    monkeypatch.setattr("editkit.libraries.import_module", broken)
    with pytest.raises(InstallError, match="cannot be imported.*no sklearn.svm._classes"):
        judge().judge(TEXTS)


# A model of transformers


def classifier(folder: Path, labels: list[str], problem: str | None) -> Path:
    """A tiny BERT with random weights, saved as Detoxify's models are on the hub."""
    torch.manual_seed(1)
    tokenizer = tokenizer_for(TEXTS, "")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type=problem,
        initializer_range=1.0,
    )
    return saved(folder, BertForSequenceClassification(config).eval(), tokenizer)


def logits_of(folder: Path, text: str) -> list[float]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        return [float(logit) for logit in model(torch.tensor([tokenizer(text)["input_ids"][:24]])).logits[0]]


def sigmoid(logits: list[float], index: int) -> float:
    return 1 / (1 + math.exp(-logits[index]))


def softmax(logits: list[float], index: int) -> float:
    return math.exp(logits[index]) / sum(math.exp(logit) for logit in logits)


@pytest.mark.parametrize(
    ("labels", "problem", "options", "index", "probability"),
    [
        (["threat", "toxicity"], "multi_label_classification", {}, 1, sigmoid),
        (["Toxic", "insult"], "multi_label_classification", {}, 0, sigmoid),
        (["neutral", "toxic"], None, {}, 1, softmax),
        (["neutral", "hate", "offense"], "single_label_classification", {"label": "Hate"}, 1, softmax),
    ],
)
def test_the_toxic_class_is_scored_as_the_model_says_its_classes_are(
    labels: list[str], problem: str | None, options: dict[str, Any], index: int, probability: Any, tmp_path: Path
) -> None:
    folder = classifier(tmp_path / "bert", labels, problem)
    texts = TEXTS[:3]
    verdicts = judge(model=str(folder), device="cpu", batch_size=2, **options).judge(texts)
    expected = [probability(logits_of(folder, text), index) for text in texts]
    assert [verdict.score for verdict in verdicts] == pytest.approx(expected, abs=1e-5)
    assert [verdict.unsafe for verdict in verdicts] == [score >= 0.5 for score in expected]


def test_a_long_text_is_cut_to_what_the_model_can_read(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "bert", ["toxic"], None)
    long = "you are a dog " * 50
    [verdict] = judge(model=str(folder), device="cpu").judge([long])
    assert verdict.score == pytest.approx(sigmoid(logits_of(folder, long), 0), abs=1e-5)


def test_the_revision_of_a_folder_names_its_weights(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "bert", ["toxic"], None)
    assert judge(model=str(folder)).revision.startswith("bert ")


def test_a_model_without_a_toxic_class_names_its_classes(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "bert", ["positive", "negative"], None)
    with pytest.raises(RecipeError, match="has no class toxicity or toxic") as raised:
        judge(model=str(folder), device="cpu").judge(["a"])
    assert "positive, negative" in raised.value.remedy


def test_a_hub_model_that_is_not_here_and_cannot_be_fetched_is_an_error_in_two_lines() -> None:
    with pytest.raises(ModelError, match="unitary/toxic-bert") as raised:
        judge(model="unitary/toxic-bert").judge(["a"])
    assert len(str(raised.value).splitlines()) == 2


def test_no_texts_have_no_verdicts() -> None:
    assert judge().judge([]) == []
