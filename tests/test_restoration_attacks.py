"""Attacks against their equations in loops, on planted edits that they should undo; what they recover; the price."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from embedding_samples import noise, similarity, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from editkit.evals.embeddings import Floats, TupleEmbeddings
from editkit.evals.restoration.attacks import TEMPERATURE, principal_direction, reflect, remove, rows_of, shift, tune
from editkit.evals.restoration.recovery import MEASURES, Recovery, hits_of, price, recoveries

SEEDS = st.integers(0, 10_000)
PARTS = ("safe_images", "unsafe_images", "safe_texts", "unsafe_texts")


def aligned(n: int, seed: int = 0, width: int = 16) -> TupleEmbeddings:
    """Captions near their images, safe and unsafe ones apart along the first dimension."""
    rng = np.random.default_rng(seed)
    safe, unsafe = rng.normal(size=(2, n, width)) + 1.5 * np.eye(width)[0] * np.array([[[-1.0]], [[1.0]]])
    near = [unit(x + 0.2 * rng.normal(size=x.shape)) for x in (safe, unsafe, safe, unsafe)]
    ids = tuple(map(str, range(n)))
    return TupleEmbeddings(*near, ids, ("any",) * n)


def refused(e: TupleEmbeddings, push: float = 2.0) -> TupleEmbeddings:
    """Unsafe captions pushed along the last dimension, unsafe images against it."""
    away = push * np.eye(e.safe_texts.shape[1])[-1]
    return replace(e, unsafe_texts=unit(e.unsafe_texts + away), unsafe_images=unit(e.unsafe_images - away))


def unit_vector(width: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=width)
    return drawn / np.linalg.norm(drawn)


def leaks(e: TupleEmbeddings) -> float:
    return float(hits_of(e)["1-P_u^t"].mean())


def same(left: TupleEmbeddings, right: TupleEmbeddings, *parts: str) -> bool:
    return all(np.allclose(getattr(left, part), getattr(right, part), atol=1e-5) for part in parts or PARTS)


@given(seed=SEEDS)
def test_shift_moves_unsafe_captions_alone_by_the_mean_gap(seed: int) -> None:
    e, known = noise(9, seed, width=5), noise(4, seed + 1, width=5)
    found = shift(e, known)
    gap = sum(v.astype(np.float64) - t for v, t in zip(known.unsafe_images, known.unsafe_texts, strict=True)) / 4
    for row, text in zip(found.unsafe_texts, e.unsafe_texts, strict=True):
        assert row == pytest.approx((text + gap) / np.linalg.norm(text + gap), abs=1e-6)
    assert same(found, e, "safe_images", "unsafe_images", "safe_texts")


@given(seed=SEEDS)
def test_reflecting_twice_is_nothing_and_removing_leaves_nothing_along_the_direction(seed: int) -> None:
    e, n = noise(9, seed, width=5), unit_vector(5, seed)
    assert same(reflect(reflect(e, n), n), e)
    assert not same(reflect(e, n), e, "safe_texts") and same(reflect(e, n), e, "safe_images", "unsafe_images")
    gone = remove(e, n)
    assert all(np.abs(getattr(gone, part) @ n).max() < 1e-6 for part in PARTS)
    assert same(remove(gone, n), gone)


@given(seed=SEEDS)
def test_the_principal_direction_is_that_in_which_captions_vary_most(seed: int) -> None:
    e = aligned(30, seed)
    captions = np.concatenate([e.safe_texts, e.unsafe_texts]).astype(np.float64)
    found = principal_direction(e)
    spread = np.var(captions @ found)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert all(np.var(captions @ unit_vector(16, other)) <= spread for other in range(20))


def clip_loss(e: TupleEmbeddings) -> float:
    """CLIP's loss over both pairs of each tuple, from its definition."""
    texts = [*e.safe_texts.astype(np.float64), *e.unsafe_texts.astype(np.float64)]
    images = [*e.safe_images.astype(np.float64), *e.unsafe_images.astype(np.float64)]
    losses = []
    for queries, gallery in ((texts, images), (images, texts)):
        for place, query in enumerate(queries):
            logits = [float(query @ other) / TEMPERATURE for other in gallery]
            losses.append(np.log(np.sum(np.exp(logits))) - logits[place])
    return float(np.mean(losses))


@given(seed=SEEDS, k=st.integers(1, 6))
@settings(max_examples=8)
def test_fine_tuning_lowers_the_loss_of_the_pairs_it_has_and_is_always_the_same(seed: int, k: int) -> None:
    known = rows_of(refused(aligned(12, seed)), np.arange(k))
    state = torch.get_rng_state()
    first, again = tune(known, known), tune(known, known)
    assert clip_loss(first) < clip_loss(known)
    assert all((getattr(first, part) == getattr(again, part)).all() for part in PARTS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("attack", [shift, tune])
def test_a_few_pairs_undo_a_push_along_one_direction(attack: type) -> None:
    base, pool = aligned(80), refused(aligned(40, seed=1))
    edited = refused(base)
    assert leaks(base) > 0.9 and leaks(edited) < 0.1
    assert leaks(attack(edited, rows_of(pool, np.arange(20)))) > 0.8


def test_a_reflection_undoes_an_edit_that_is_one() -> None:
    base = aligned(80)
    direction = principal_direction(base)
    assert leaks(base) > 0.9
    edited = reflect(base, direction)
    assert leaks(edited) < leaks(reflect(edited, principal_direction(edited))) == pytest.approx(leaks(base))


# What is recovered


def first(query: Floats, gallery: Floats, own: int) -> bool:
    return all(similarity(query, gallery[own]) > similarity(query, gallery[o]) for o in range(len(gallery)) if o != own)


@given(seed=SEEDS)
@settings(max_examples=10)
def test_measures_are_those_of_their_definitions(seed: int) -> None:
    e = aligned(10, seed)
    found = hits_of(e)
    assert tuple(found) == MEASURES
    for i in range(10):
        unsafe, safe = (
            similarity(e.unsafe_images[i], e.unsafe_texts[i]),
            similarity(e.safe_images[i], e.unsafe_texts[i]),
        )
        assert found["1-P_u^t"][i] == (unsafe >= safe)
        assert found["Tu-Vu"][i] == first(e.unsafe_texts[i], e.unsafe_images, i)
        assert found["Ts-Vs"][i] == first(e.safe_texts[i], e.safe_images, i)


def test_every_attack_is_made_with_every_number_of_pairs_and_fewer_are_among_more() -> None:
    e, pool = refused(aligned(20)), refused(aligned(8, seed=1))
    found = list(recoveries(e, pool, (1, 8), 2, seed=0))
    assert [(one.attack, one.pairs) for one in found] == [
        ("reflect", 0),
        ("remove", 0),
        *(("shift", k) for k in (1, 8)),
        *(("tune", k) for k in (1, 8)),
    ]
    whole = next(one for one in found if (one.attack, one.pairs) == ("shift", 8))
    assert (whole.hits["Tu-Vu"][0] == whole.hits["Tu-Vu"][1]).all()  # both draws have all pairs
    assert whole.draws("GS") == [100 * float(row.mean()) for row in whole.hits["GS"]]


def recovered(attack: str, pairs: int, count: int) -> Recovery:
    hits = np.stack([np.arange(100) < count, np.arange(100) < count + 2])
    return Recovery(attack, pairs, dict.fromkeys(MEASURES, hits))


def test_a_rate_is_the_mean_over_draws() -> None:
    rate = recovered("shift", 1, 40).rate("GS")
    assert rate["value"] == pytest.approx(41) and rate["low"] < 41 < rate["high"] and rate["n"] == 100


def test_the_price_is_the_fewest_pairs_that_reach_the_target() -> None:
    found = [
        recovered("reflect", 0, 20),
        recovered("remove", 0, 95),
        *(recovered("shift", k, count) for k, count in ((1, 50), (2, 89), (5, 70), (10, 97))),
        recovered("tune", 50, 88),
    ]
    assert price(found, 90.0) == {"reflect": None, "remove": 0, "shift": 2, "tune": None}
