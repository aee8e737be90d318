"""Zero-shot accuracy against a loop, its ties and its chance rows."""

from __future__ import annotations

import numpy as np
import pytest
from embedding_samples import similarity, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from editkit.errors import DataError, ModelError
from editkit.evals.embeddings import ClassEmbeddings, Floats
from editkit.evals.zeroshot import ZeroShot


def labelled(images: Floats, classes: Floats, labels: np.ndarray) -> ClassEmbeddings:
    names = tuple(f"class {c}" for c in range(len(classes)))
    return ClassEmbeddings(images, classes, labels, names, tuple(f"{i}.png" for i in range(len(images))))


def random_set(n: int, count: int, seed: int, width: int = 6) -> ClassEmbeddings:
    rng = np.random.default_rng(seed)
    images, classes = unit(rng.normal(size=(n, width))), unit(rng.normal(size=(count, width)))
    return labelled(images, classes, rng.integers(0, count, n))


def answers(e: ClassEmbeddings, image: Floats) -> list[int]:
    """All classes, the most similar first; of equal ones the lower index first."""
    scores = [similarity(image, c) for c in e.classes]
    return sorted(range(len(scores)), key=lambda c: (-scores[c], c))


@given(n=st.integers(1, 20), count=st.integers(1, 14), seed=st.integers(0, 10_000))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_hits_equal_a_loop_over_classes(n: int, count: int, seed: int) -> None:
    e = random_set(n, count, seed)
    e = labelled(e.images, e.classes[np.arange(count) // 2 * 2 % count], e.labels)  # classes come in equal pairs
    ranked = [answers(e, image) for image in e.images]
    hits = ZeroShot().hits(e)
    assert hits["top1"].tolist() == [order[0] == label for order, label in zip(ranked, e.labels, strict=True)]
    assert ("top5" in hits) == (count > 5)
    if "top5" in hits:
        assert hits["top5"].tolist() == [label in order[:5] for order, label in zip(ranked, e.labels, strict=True)]


@given(n=st.integers(1, 25), count=st.integers(1, 6), seed=st.integers(0, 10_000))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_weighted_hits_are_the_mean_over_classes_that_have_images(n: int, count: int, seed: int) -> None:
    e = random_set(n, count, seed)
    hits, weights = ZeroShot().hits(e)["mean_per_class"], ZeroShot().weights(e)["mean_per_class"]
    recalls = []
    for c in range(count):
        own = [answers(e, image)[0] == c for image, label in zip(e.images, e.labels, strict=True) if label == c]
        recalls += [sum(own) / len(own)] if own else []
    assert (weights * hits).sum() == pytest.approx(sum(recalls) / len(recalls))
    assert weights.sum() == pytest.approx(1)


def test_of_tied_classes_the_first_is_the_answer() -> None:
    same = unit(np.ones((3, 4)))
    assert ZeroShot().hits(labelled(same, same, np.array([0, 1, 2])))["top1"].tolist() == [True, False, False]


def test_of_seven_tied_classes_the_first_five_are_among_the_five() -> None:
    same = unit(np.ones((7, 4)))
    assert ZeroShot().hits(labelled(same, same, np.arange(7)))["top5"].tolist() == [True] * 5 + [False] * 2


def test_chance_is_one_in_the_number_of_classes() -> None:
    e = random_set(20_000, 8, seed=0, width=64)
    chance = ZeroShot().chance(e)
    assert chance["independent"] == chance["collapsed"] == {"top1": 12.5, "top5": 62.5, "mean_per_class": 12.5}
    hits = ZeroShot().hits(e)
    assert 100 * hits["top1"].mean() == pytest.approx(12.5, abs=1.0)
    assert 100 * hits["top5"].mean() == pytest.approx(62.5, abs=1.5)


def test_a_collapsed_model_scores_chance_over_the_classes_it_may_answer() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    image, *classes = unit(np.random.default_rng(0).normal(size=(4, 8)))
    images, shares = np.repeat(image[None], 100, axis=0), []
    for turn in range(3):
        e = labelled(images, np.stack(classes[turn:] + classes[:turn]), labels)
        shares.append(100 * ZeroShot().hits(e)["top1"].mean())
        assert ZeroShot().chance(e)["collapsed"]["top1"] == pytest.approx(100 / 3)
    assert sum(shares) / 3 == pytest.approx(100 / 3)


def test_groups_are_class_names() -> None:
    e = random_set(5, 3, seed=0)
    assert ZeroShot().groups(e) == tuple(e.names[label] for label in e.labels)


def test_bad_labels_and_vectors_are_refused_by_name() -> None:
    e = random_set(5, 3, seed=0)
    with pytest.raises(DataError, match=r"image '1\.png' has label 3, but there are 3 classes"):
        labelled(e.images, e.classes, np.array([0, 3, 1, 1, -1]))
    with pytest.raises(DataError, match="labels of shape"):
        labelled(e.images, e.classes, np.array([0]))
    with pytest.raises(ModelError, match="prompt embedding of class 'class 2' has a NaN"):
        labelled(e.images, np.where(np.arange(3)[:, None] == 2, np.float32("nan"), e.classes), e.labels)
