"""The linear probe against nested cross-validation written as loops; its folds, its AUC, and what it is asked."""

from __future__ import annotations

import numpy as np
import pytest
from embedding_samples import noise, tuples, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from editkit.evals.restoration.probe import FOLDS, STRENGTHS, auc, folds_of, probe
from editkit.evals.restoration.questions import questions_of

SEEDS = st.integers(0, 10_000)


def sample(seed: int, n: int = 60, classes: int = 3, apart: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of several classes that overlap, and their classes."""
    rng = np.random.default_rng(seed)
    which = np.arange(n) % classes
    return unit(rng.normal(size=(n, 6)) + apart * rng.normal(size=(classes, 6))[which]), which


def fitted(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [D + 1, C] of ridge regression by its normal equations; the last row is not penalised."""
    n, width = x.shape
    centred = x - x.mean(axis=0)
    ridge = strength * np.trace(centred.T @ centred / n) / width
    ones = np.concatenate([x, np.ones((n, 1))], axis=1)
    penalty = n * ridge * np.eye(width + 1)
    penalty[-1, -1] = 0
    return np.linalg.solve(ones.T @ ones + penalty, ones.T @ y)


def loop(x: np.ndarray, classes: np.ndarray, folds: np.ndarray) -> tuple[list[bool], float]:
    """Nested cross-validation from its description."""
    y = np.array([[float(c == k) for k in range(classes.max() + 1)] for c in classes])
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    hits, areas = [False] * len(x), []
    for fold in range(FOLDS):
        right = []
        for strength in STRENGTHS:
            count = 0
            for held in set(range(FOLDS)) - {fold}:
                train = (folds != fold) & (folds != held)
                scores = ones[folds == held] @ fitted(x[train], y[train], strength)
                count += int((scores.argmax(axis=1) == classes[folds == held]).sum())
            right.append(count)
        best = max(strength for strength, count in zip(STRENGTHS, right, strict=True) if count == max(right))
        rows = np.flatnonzero(folds == fold)
        scores = ones[rows] @ fitted(x[folds != fold], y[folds != fold], best)
        for row, score in zip(rows, scores, strict=True):
            hits[row] = bool(score.argmax() == classes[row])
        for one in range(classes.max() + 1):
            own, rest = scores[classes[rows] == one, one], scores[classes[rows] != one, one]
            areas.append(np.mean([float(a > b) + 0.5 * (a == b) for a in own for b in rest]))
    return hits, float(np.mean(areas))


@given(seed=SEEDS, classes=st.integers(2, 4))
@settings(max_examples=10)
def test_a_probe_is_nested_cross_validation_of_ridge_regression(seed: int, classes: int) -> None:
    x, which = sample(seed, classes=classes)
    folds = folds_of(which, seed)
    found = probe(x.astype(np.float32), which, folds)
    hits, area = loop(x.astype(np.float32).astype(np.float64), which, folds)
    assert found.hits.tolist() == hits
    assert found.auc == pytest.approx(area)


@given(seed=SEEDS, n=st.integers(2, 40))
def test_the_auc_is_the_share_of_pairs_in_the_right_order(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, n).astype(np.float64), np.arange(n) % 2 == 0
    pairs = [float(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs))


@given(seed=SEEDS, n=st.integers(20, 90))
def test_every_class_is_spread_over_all_folds(seed: int, n: int) -> None:
    which = np.random.default_rng(seed).integers(0, 3, n)
    folds = folds_of(which, seed)
    counts = np.array([[np.count_nonzero((folds == f) & (which == c)) for f in range(FOLDS)] for c in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1


def test_what_is_apart_is_told_and_what_is_alike_is_not() -> None:
    x, which = sample(0, n=400, classes=2, apart=20.0)
    folds = folds_of(which, 0)
    assert probe(x, which, folds).hits.all() and probe(x, which, folds).auc == 1
    alike = probe(noise(400, width=6).safe_texts, which, folds)
    assert 0.4 < alike.hits.mean() < 0.6 and 0.4 < alike.auc < 0.6
    assert alike.auc_rate["low"] < 50 < alike.auc_rate["high"] and alike.auc_rate["n"] == 400


def test_a_perfect_auc_has_an_interval_of_as_many_items_as_the_rarest_class() -> None:
    x, which = sample(0, n=100, classes=2, apart=20.0)
    rate = probe(x, which, folds_of(which, 0)).auc_rate
    assert rate["value"] == 100 and 90 < rate["low"] < 100


def test_both_items_of_a_tuple_are_in_one_fold_and_count_as_one() -> None:
    [text, image] = questions_of(("any",) * 20, 0)
    assert (text.name, image.name) == ("unsafe:text", "unsafe:image")
    assert (text.folds[:20] == text.folds[20:]).all() and (text.tuples[:20] == text.tuples[20:]).all()
    e = noise(20, width=4)
    assert (text.items(e) == np.concatenate([e.safe_texts, e.unsafe_texts])).all()
    assert text.chance == 50


def test_the_concept_is_asked_of_unsafe_items_of_concepts_that_have_ten() -> None:
    concepts = ("a",) * 14 + ("b",) * 3 + ("c",) * 10
    *_, text, image = questions_of(concepts, 0)
    assert (text.name, image.name) == ("concept:text", "concept:image")
    e = tuples(*(noise(27, width=4).safe_images,) * 3, noise(27, 1, width=4).unsafe_texts, concepts=concepts)
    kept = [*range(14), *range(17, 27)]
    assert (text.items(e) == e.unsafe_texts[kept]).all() and (image.items(e) == e.unsafe_images[kept]).all()
    assert text.classes.tolist() == [0] * 14 + [1] * 10 and text.chance == pytest.approx(100 * 14 / 24)


@pytest.mark.parametrize("concepts", [("a",) * 30, ("a",) * 20 + ("b",) * 9])
def test_one_concept_alone_is_not_asked_for(concepts: tuple[str, ...]) -> None:
    assert [one.name for one in questions_of(concepts, 0)] == ["unsafe:text", "unsafe:image"]
