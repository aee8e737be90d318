"""The linear filter against its equations in loops and another library, and what hiding flagged items means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedding_samples import noise, similarity, unit
from hypothesis import given
from hypothesis import strategies as st

from editkit.data.classes import ClassSet
from editkit.errors import DataError
from editkit.evals.embeddings import Floats, similarity_rows
from editkit.evals.encoder import Embedded
from editkit.evals.exposure import Exposure
from editkit.evals.flagged import moved
from editkit.evals.linear_filter import FilteredBase, LinearFilter, hidden_images, hidden_texts, shrunk_covariance
from editkit.evals.options import ExposureOptions
from editkit.evals.prepared import Prepared
from editkit.evals.run_classes import measure_classes
from editkit.evals.safeground import SafeGround
from editkit.evals.specs import EVALUATIONS
from editkit.evals.zeroshot import ZeroShot
from editkit.models.variants import Variant

SEEDS = st.integers(0, 10_000)


def classes(seed: int, n: int = 60, width: int = 12, apart: float = 1.0) -> tuple[Floats, Floats]:
    """Safe and unsafe unit vectors of unequal numbers, the unsafe ones moved along one direction."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.2, 2, width)
    centre, push = rng.normal(size=(2, width))
    safe = unit(centre + scales * rng.normal(size=(n, width)))
    return safe, unit(centre + apart * push + scales * rng.normal(size=(n + 7, width)))


def loop(safe: Floats, unsafe: Floats) -> tuple[np.ndarray, float]:
    """Covariance and shrinkage, written from the equations."""
    rows = [x - part.astype(np.float64).mean(axis=0) for part in (safe, unsafe) for x in part.astype(np.float64)]
    m, width = len(rows), len(rows[0])
    s = sum(np.outer(x, x) for x in rows) / m
    target = np.trace(s) / width * np.eye(width)
    d = sum(float(entry) ** 2 for entry in (s - target).ravel())
    b = sum(float(((np.outer(x, x) - s) ** 2).sum()) for x in rows) / m**2
    g = min(b, d) / d
    return (1 - g) * s + g * target, g


@given(seed=SEEDS, n=st.integers(3, 40))
def test_the_direction_is_that_of_the_equations(seed: int, n: int) -> None:
    safe, unsafe = classes(seed, n)
    covariance, g = loop(safe, unsafe)
    made = LinearFilter.fit(safe, unsafe)
    apart = unsafe.astype(np.float64).mean(axis=0) - safe.astype(np.float64).mean(axis=0)
    assert made.shrinkage == pytest.approx(g, rel=1e-6)
    assert made.direction == pytest.approx(np.linalg.inv(covariance) @ apart, rel=1e-6)


def test_shrinkage_and_direction_are_those_of_another_library() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    analysis = pytest.importorskip("sklearn.discriminant_analysis")
    for n in (5, 200):
        safe, unsafe = classes(3, n)
        made = LinearFilter.fit(safe, unsafe)
        centred = np.concatenate([part - part.mean(axis=0) for part in (safe.astype(float), unsafe.astype(float))])
        assert made.shrinkage == pytest.approx(covariance.ledoit_wolf_shrinkage(centred, assume_centered=True))
        theirs = analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=made.shrinkage)
        theirs.fit(np.concatenate([safe, unsafe]).astype(float), [0] * len(safe) + [1] * len(unsafe))
        assert made.direction == pytest.approx(theirs.coef_[0], rel=1e-6)


@given(seed=SEEDS, n=st.integers(2, 400))
def test_at_most_one_in_a_hundred_safe_items_is_flagged_and_no_lower_threshold_would_do(seed: int, n: int) -> None:
    safe, unsafe = classes(seed, n)
    made = LinearFilter.fit(safe, unsafe)
    scores = made.scores(safe)
    assert made.threshold in scores
    assert np.count_nonzero(made.flags(safe)) <= 0.01 * n
    assert np.count_nonzero(scores >= made.threshold) > 0.01 * n


@given(seed=SEEDS)
def test_turning_the_space_changes_no_flag(seed: int) -> None:
    safe, unsafe = classes(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(safe.shape[1], safe.shape[1])))[0]
    made, turned = (LinearFilter.fit(*parts) for parts in ((safe, unsafe), (safe @ turn, unsafe @ turn)))
    scores = made.scores(unsafe)
    assert turned.shrinkage == pytest.approx(made.shrinkage)
    assert turned.scores(unsafe @ turn) == pytest.approx(scores, rel=1e-4, abs=1e-4 * np.abs(scores).max())


def test_covariance_is_invertible_with_fewer_vectors_than_dimensions() -> None:
    covariance, shrinkage = shrunk_covariance(noise(5, width=40).safe_texts.astype(np.float64))
    assert 0 < shrinkage <= 1 and np.linalg.eigvalsh(covariance).min() > 0


def test_classes_that_are_alike_have_no_filter() -> None:
    safe, _ = classes(0)
    with pytest.raises(DataError, match="alike"):
        LinearFilter.fit(safe, safe)
    with pytest.raises(DataError, match="alike"):
        LinearFilter.fit(safe[:1].repeat(4, axis=0), safe[:1].repeat(4, axis=0))


# Hiding


def some(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < 0.3


@given(seed=SEEDS)
def test_a_hidden_item_is_less_similar_than_any_other_to_every_query(seed: int) -> None:
    e, flagged = noise(20, seed, width=5), some(20, seed)
    queries = hidden_texts(e.safe_texts, some(20, seed + 1))
    [(_, found)] = similarity_rows(queries, hidden_images(e.safe_images, flagged))
    if flagged.any() and not flagged.all():
        assert (found[:, flagged].max(axis=1) < found[:, ~flagged].min(axis=1)).all()


@given(seed=SEEDS)
def test_hidden_embeddings_are_unit_vectors_with_the_similarities_of_the_definition(seed: int) -> None:
    e, f, g = noise(12, seed, width=6), some(12, seed), some(12, seed + 1)
    images, texts = hidden_images(e.safe_images, f), hidden_texts(e.safe_texts, g)
    for part in (images, texts):
        assert np.linalg.norm(part.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)
    for i in range(12):
        for j in range(12):
            s = float(similarity(e.safe_images[i], e.safe_texts[j])) - 7.5 * f[i] - 7.5 * g[j]
            assert 16 * float(similarity(images[i], texts[j])) == pytest.approx(s, abs=1e-5)


def planted(flag_images: bool = True) -> FilteredBase:
    """A filter that flags what points up in the first dimension."""
    up = LinearFilter(np.eye(6)[0], 0.4 if flag_images else 2.0, 0.0)
    return FilteredBase("filtered", "base", {"text": up, "image": up})


@given(seed=SEEDS)
def test_where_nothing_is_flagged_nothing_changes(seed: int) -> None:
    e = noise(30, seed, width=6)
    before, after = (SafeGround().hits(one) for one in (e, planted(flag_images=False).hide(e)))
    assert all((before[metric] == after[metric]).all() for metric in before)


@given(seed=SEEDS)
def test_safeground_of_a_filter_is_that_of_the_definition(seed: int) -> None:
    e = noise(30, seed, width=6)
    hits = SafeGround().hits(planted().hide(e))

    def s(v: Floats, t: Floats) -> float:
        return float(similarity(v, t)) - 100 * (v[0] > 0.4) - 100 * (t[0] > 0.4)

    parts = (e.safe_images, e.unsafe_images, e.safe_texts, e.unsafe_texts)
    for hit, vs, vu, ts, tu in zip(hits["GS"], *parts, strict=True):
        assert hit == (s(vs, ts) > max(s(vu, ts), s(vs, tu)) and min(s(vs, tu), s(vu, ts)) > s(vu, tu))


@given(seed=SEEDS)
def test_exposure_of_a_filter_counts_what_is_not_hidden_whoever_asks(seed: int) -> None:
    """Whether the query is flagged itself makes no difference, among items of its own modality neither."""
    e, k = noise(9, width=6, seed=seed), 3
    hits = Exposure(ExposureOptions(ks=(k,))).hits(planted().hide(e))
    images, texts = np.concatenate([e.safe_images, e.unsafe_images]), np.concatenate([e.safe_texts, e.unsafe_texts])
    for direction, asking, found in (("T-V", texts, images), ("V-T", images, texts), ("V-V", images, images),
                                     ("T-T", texts, texts)):  # fmt: skip
        items = "captions" if asking is texts else "images"
        for side, rows in (("safe", range(9)), ("unsafe", range(9, 18))):
            for place, own in enumerate(rows):
                scores = {
                    i: float(similarity(asking[own], item)) - 100 * (item[0] > 0.4)
                    for i, item in enumerate(found)
                    if asking is not found or i != own
                }
                first = sorted(scores, key=lambda i: -scores[i])[:k]
                share = hits[f"{side} {items} {direction}@{k}"][place]
                assert share == pytest.approx(sum(i >= 9 for i in first) / k)


class Known:
    """Embeddings that are at hand, in place of an encoder."""

    def __init__(self, images: Floats, prompts: Floats) -> None:
        self.kept = images, prompts

    def images(self, variants: list[Variant], *rest: object) -> dict[str, Embedded]:
        return {variant.name: Embedded(self.kept[0][None]) for variant in variants}

    def texts(self, variants: list[Variant], groups: object) -> dict[str, Embedded]:
        return {variant.name: Embedded(self.kept[1][None]) for variant in variants}


def test_a_flagged_image_counts_as_missed_in_zero_shot_accuracy(tmp_path: Path) -> None:
    e, files = noise(40, width=6), tuple(tmp_path / str(i) for i in range(40))
    for file in files:
        file.write_text(file.name)
    labels = tuple(i % 3 for i in range(40))
    data = ClassSet("c", ("a", "b", "c"), "{}", files, labels, tuple(map(str, range(40))))
    [spec] = [spec for spec in EVALUATIONS if spec.name == "zeroshot"]
    encoder = Known(e.safe_images, e.safe_texts[:3])
    base = [Variant("base", {})]
    prepared = Prepared(spec, ZeroShot())
    found = measure_classes(prepared, data, base, encoder, skip_unreadable=False, fitted=planted())  # type: ignore[arg-type]
    up = e.safe_images[:, 0] > 0.4
    assert up.any()
    assert (found.hits["filtered"]["top1"] == found.hits["base"]["top1"] & ~up).all()


# How far an edit moves an item


def test_distance_is_one_minus_the_cosine_and_nothing_where_nothing_moved() -> None:
    e = noise(9, width=6)
    found = moved(e.safe_images, e.safe_texts)
    expected = [1 - float(similarity(v, t)) for v, t in zip(e.safe_images, e.safe_texts, strict=True)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert not moved(e.safe_images, e.safe_images.copy()).any()
