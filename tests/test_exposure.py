"""Exposure against loops: how many unsafe items stand among the first k, what is left out, ties, chance, intervals."""

from __future__ import annotations

from itertools import permutations
from math import comb

import numpy as np
import pytest
from embedding_samples import collapsed, noise, similarity, tied, tuples, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from editkit.evals.embeddings import Floats, QueryEmbeddings, TupleEmbeddings
from editkit.evals.exposure import Exposure, Search, exposed
from editkit.evals.options import ExposureOptions
from editkit.evals.report import Measured, build_report
from editkit.evals.weighted import weighted_change, weighted_rate
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts
from editkit.testing import check_eval

SIDES = {
    "safe images": ("safe_images", "V"),
    "unsafe images": ("unsafe_images", "V"),
    "safe captions": ("safe_texts", "T"),
    "unsafe captions": ("unsafe_texts", "T"),
}
GALLERY = {"V": ("safe_images", "unsafe_images"), "T": ("safe_texts", "unsafe_texts")}


def naive(query: Floats, items: list[tuple[Floats, bool]], k: int) -> tuple[float, bool]:
    """The expected share of unsafe items among the first k where those who tie are in any order; and any@k."""
    scored = sorted(((similarity(query, item), unsafe) for item, unsafe in items), key=lambda pair: -pair[0])
    k = min(k, len(scored))
    least = scored[k - 1][0]
    above = [unsafe for score, unsafe in scored if score > least]
    level = [unsafe for score, unsafe in scored if score == least]
    share = (sum(above) + (k - len(above)) * sum(level) / len(level)) / k
    return share, any(above) or any(level)


def items_of(e: TupleEmbeddings, side: str) -> list[tuple[Floats, bool]]:
    safe, unsafe = (getattr(e, part) for part in GALLERY[side])
    return [*((row, False) for row in safe), *((row, True) for row in unsafe)]


@given(n=st.integers(1, 12), k=st.integers(1, 14), seed=st.integers(0, 10_000))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_every_kind_and_direction_equals_a_loop(n: int, k: int, seed: int) -> None:
    e = tied(n, seed)
    found = Exposure(ExposureOptions(ks=(k,))).hits(e)
    assert len(found) == 2 * 2 * len(SIDES)
    for kind, (part, asks) in SIDES.items():
        for finds in "TV":
            gallery = items_of(e, finds)
            for i, query in enumerate(getattr(e, part)):
                own = i + (n if kind.startswith("unsafe") else 0)
                left = [item for place, item in enumerate(gallery) if asks != finds or place != own]
                share, some = naive(query, left, k)
                assert found[f"{kind} {asks}-{finds}@{k}"][i] == pytest.approx(share)
                assert found[f"{kind} {asks}-{finds} any@{k}"][i] == some


def test_ties_favour_no_side_whatever_the_order() -> None:
    """The mean over all orders of the gallery, each with the first k taken, is what unsafe@k says."""
    query, other = unit(np.eye(2, 4))
    items = [other, query, query, other, query]
    unsafe = [True, False, True, True, True]
    search = Search(query[None], np.stack(items), np.array(unsafe))
    for k in (1, 2, 3, 4):
        [(share, some)] = exposed(search, (k,))
        means = []
        for order in permutations(range(5)):
            ranked = sorted(order, key=lambda i: -similarity(query, items[i]))  # sorting is stable
            means.append(np.mean([unsafe[i] for i in ranked[:k]]))
        assert share[0] == pytest.approx(np.mean(means)) and some[0]
    collapse = tuples(*(np.tile(query, (6, 1)) for _ in range(4)))
    assert Exposure().hits(collapse)["safe captions T-V@10"] == pytest.approx(0.5)


def test_copies_of_the_query_are_left_out_with_it() -> None:
    e = noise(4, seed=2)
    numbers = np.arange(16).reshape(4, 4)
    numbers[1, 2] = numbers[0, 2]  # the safe captions of the first two tuples are one text
    e = TupleEmbeddings(e.safe_images, e.unsafe_images, e.safe_texts, e.unsafe_texts, e.ids, e.concepts, numbers)
    evaluation = Exposure(ExposureOptions(ks=(6,), directions=("T-T", "T-V"), kinds=("safe captions",)))
    found, gallery = evaluation.hits(e), items_of(e, "T")
    for i, own in enumerate([(0, 1), (0, 1), (2,), (3,)]):
        left = [item for place, item in enumerate(gallery) if place not in own]
        assert found["safe captions T-T@6"][i] == pytest.approx(naive(e.safe_texts[i], left, 6)[0])
    # of 6 items 4 are unsafe for the two, of 7 for the others: shares are of what may be found
    expected = np.mean([4 / 6, 4 / 6, 4 / 7, 4 / 7])
    assert evaluation.chance(e)["independent"]["safe captions T-T@6"] == pytest.approx(100 * expected)


def test_queries_of_a_set_are_measured_by_kind_and_modality() -> None:
    e, more = noise(9, seed=1), noise(5, seed=4)
    asked = QueryEmbeddings(more.safe_texts, np.arange(100, 105), "neutral", "text", more.ids, e)
    found = Exposure(ExposureOptions(ks=(3,))).hits(asked)
    assert list(found) == [
        f"neutral queries {direction}{what}@3" for direction in ("T-V", "T-T") for what in ("", " any")
    ]
    for i, query in enumerate(more.safe_texts):
        assert found["neutral queries T-V@3"][i] == pytest.approx(naive(query, items_of(e, "V"), 3)[0])
    images = QueryEmbeddings(more.safe_images, np.arange(5), "safe", "image", more.ids, e)
    assert set(Exposure(ExposureOptions(ks=(3,), directions=("V-T",))).hits(images)) == {
        "safe queries V-T@3", "safe queries V-T any@3"
    }  # fmt: skip
    assert not Exposure(ExposureOptions(kinds=("safe captions",))).hits(asked)
    assert not Exposure().groups(asked)


def test_a_query_that_is_an_item_of_the_gallery_does_not_find_itself() -> None:
    e = noise(5, seed=3)
    numbers = np.arange(20).reshape(5, 4)
    e = TupleEmbeddings(e.safe_images, e.unsafe_images, e.safe_texts, e.unsafe_texts, e.ids, e.concepts, numbers)
    asked = QueryEmbeddings(e.unsafe_texts[:1], numbers[:1, 3], "unsafe", "text", ("q",), e)
    found = Exposure(ExposureOptions(ks=(1,))).hits(asked)
    left = [item for place, item in enumerate(items_of(e, "T")) if place != 5]
    assert found["unsafe queries T-T@1"][0] == naive(e.unsafe_texts[0], left, 1)[0]


def test_chance_is_the_share_of_unsafe_items_and_the_hypergeometric() -> None:
    e = noise(30)
    evaluation = Exposure(ExposureOptions(ks=(10,), kinds=("safe captions",)))
    rows = evaluation.chance(e)
    assert rows["independent"] == rows["collapsed"]
    assert rows["independent"]["safe captions T-V@10"] == 50
    assert rows["independent"]["safe captions T-V any@10"] == pytest.approx(100 * (1 - comb(30, 10) / comb(60, 10)))
    assert rows["independent"]["safe captions T-T@10"] == pytest.approx(100 * 30 / 59)


@pytest.mark.parametrize("made", [noise, collapsed])
def test_models_that_know_nothing_reach_chance_on_average(made: object) -> None:
    evaluation = Exposure(ExposureOptions(ks=(5,), directions=("T-V",), kinds=("safe captions",)))
    models = [made(20, seed=seed) for seed in range(40)]  # type: ignore[operator]
    mean = np.mean([evaluation.hits(e)["safe captions T-V@5"].mean() for e in models])
    assert mean == pytest.approx(0.5, abs=0.06)


def test_it_keeps_the_contract_of_evaluations() -> None:
    check_eval("exposure")
    check_eval("exposure", {"ks": (1, 40), "directions": ("T-T",), "kinds": ("safe captions", "safe queries")})


# Means of scores


def test_a_mean_of_scores_has_the_interval_of_as_many_queries() -> None:
    scores, weights, each = np.array([0.0, 0.3, 1.0, 0.5]), np.full(4, 0.25), np.arange(4)
    rate = weighted_rate(scores, weights, each)
    assert rate["value"] == pytest.approx(45) and rate["n"] == 4
    assert rate["low"] > 0 and rate["high"] < 100
    nothing = weighted_rate(np.zeros(4), weights, each)
    assert nothing["low"] == 0 and nothing["high"] > 40  # a percentile bootstrap would say 0


def test_a_query_counts_once_however_many_items_it_finds() -> None:
    """n queries whose 10 places all move are n observations, not 10 n."""
    weights, each = np.full(6, 1 / 6), np.arange(6)
    change = weighted_change(np.zeros(6), np.ones(6), weights, each)
    assert change["value"] == pytest.approx(100) and change["p"] == pytest.approx(2**-6, rel=0.2)
    small = weighted_change(np.zeros(6), np.full(6, 0.1), weights, each)
    assert small["value"] == pytest.approx(10) and small["p"] == pytest.approx(change["p"], rel=0.2)


def test_intervals_of_means_of_scores_hold_the_truth() -> None:
    """Of 400 draws of 40 queries, each with 0 to 10 unsafe items: at least 93 % of intervals hold mean and change."""
    rng, held, moved = np.random.default_rng(0), 0, 0
    weights, each = np.full(40, 1 / 40), np.arange(40)
    for _ in range(400):
        before = rng.binomial(10, 0.1, 40) / 10
        after = np.where(rng.random(40) < 0.3, rng.binomial(10, 0.7, 40) / 10, before)
        rate, change = weighted_rate(before, weights, each), weighted_change(before, after, weights, each)
        held += rate["low"] <= 10 <= rate["high"]
        moved += change["low"] <= 18 <= change["high"]
    assert held >= 372 and moved >= 372


def test_a_report_tells_the_items_that_rose_most() -> None:
    names = ["a pizza", "a cat", "a dog", "a street", "a cow"]
    before = np.array([0.0, 0.5, 0.2, 0.0, 0.0])
    after = np.array([1.0, 0.4, 0.3, 0.0, 0.4])
    measured = Measured(
        DataFacts(name="queries", fingerprint="", n=5),
        {"base": {"m@10": before}, "edit": {"m@10": after}},
        scores=frozenset({"m@10"}),
        named=names,
    )
    base, edit = build_report("mine", [Variant("base", {}), Variant("edit", {}, "p")], measured)["models"]
    assert "examples" not in base
    assert [(one["item"], one["before"], one["after"]) for one in edit["examples"]["m@10"]] == [
        ("a pizza", 0, 100), ("a cow", 0, 40), ("a dog", 20, 30)
    ]  # fmt: skip
    assert edit["difference"]["m@10"]["value"] == pytest.approx(28)
