"""Retrieval against a loop with a sort, planted ties and simulated chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from embedding_samples import collapsed, noise, similarity, tied, tuples, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from editkit.evals import embeddings as embeddings_module
from editkit.evals.embeddings import TupleEmbeddings
from editkit.evals.options import DIRECTIONS, RetrievalOptions
from editkit.evals.retrieval import Retrieval, ranks

PAPER = json.loads((Path(__file__).parent / "paper" / "tables.json").read_text())["tables"]["main.1"]["columns"]


def loop(e: TupleEmbeddings, direction: str, k: int) -> list[bool]:
    """Sort the whole gallery for every query, ties in gallery order."""
    queries, safe, unsafe = {
        "Ts-Vs": (e.safe_texts, e.safe_images, e.safe_images[:0]),
        "Vs-Ts": (e.safe_images, e.safe_texts, e.safe_texts[:0]),
        "Tu-Vu+s": (e.unsafe_texts, e.safe_images, e.unsafe_images),
        "Vu-Tu+s": (e.unsafe_images, e.safe_texts, e.unsafe_texts),
    }[direction]
    hits = []
    for i, query in enumerate(queries):
        scores = [similarity(query, item) for item in (*safe, *unsafe)]
        order = sorted(range(len(scores)), key=lambda j: (-scores[j], j))
        hits.append(i in order[:k])
    return hits


@given(n=st.integers(1, 12), seed=st.integers(0, 10_000))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_hits_equal_a_sort_per_query_with_planted_ties(n: int, seed: int) -> None:
    for e in (tied(n, seed), noise(n, seed, width=6)):
        found = Retrieval().hits(e)
        for direction in DIRECTIONS:
            for k in (1, 5, 10, 20):
                key = direction if k == 1 else f"{direction}@{k}"
                assert found[key].tolist() == loop(e, direction, k), key


def test_the_metrics_of_the_first_k_are_the_papers_columns() -> None:
    found = Retrieval().hits(noise(3))
    assert [column for column in PAPER if column in found] == list(DIRECTIONS) == list(found)[:4]
    assert list(found)[4:] == [f"{direction}@{k}" for k in (5, 10, 20) for direction in DIRECTIONS]


def test_ties_rank_in_gallery_order() -> None:
    same = unit(np.ones((6, 3)))
    assert ranks(same, same).tolist() == [1, 2, 3, 4, 5, 6]


def test_equal_items_tie_whichever_kernel_computes_their_column() -> None:
    rng = np.random.default_rng(0)
    queries = unit(rng.normal(size=(997, 301)))
    gallery = np.repeat(unit(rng.normal(size=(1, 301))), 997, axis=0)
    assert (ranks(queries, gallery) == 1 + np.arange(997)).all()


def test_a_safe_item_precedes_the_unsafe_item_it_ties_with() -> None:
    e = noise(20)
    twins = tuples(e.safe_images, e.safe_images, e.safe_images, e.safe_images)
    assert Retrieval().hits(twins)["Tu-Vu+s"].all()


def test_the_chunk_size_changes_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    e = tied(67, seed=1)
    whole = ranks(e.safe_texts, e.safe_images)
    for size in (1, 67 * 3, 67 * 10):
        monkeypatch.setattr(embeddings_module, "_CHUNK_ELEMENTS", size)
        assert (ranks(e.safe_texts, e.safe_images) == whole).all()


def test_chance_is_what_noise_scores() -> None:
    e = noise(2000)
    retrieval = Retrieval(RetrievalOptions(ks=(1, 20, 200)))
    chance, hits = retrieval.chance(e)["independent"], retrieval.hits(e)
    assert chance["Ts-Vs@200"] == 10.0 and chance["Vu-Tu+s@200"] == 5.0
    for metric, hit in hits.items():
        share = chance[metric] / 100
        assert hit.mean() == pytest.approx(share, abs=4.5 * (share * (1 - share) / 2000) ** 0.5)


def test_chance_is_what_a_collapsed_model_scores_on_average() -> None:
    retrieval = Retrieval(RetrievalOptions(ks=(20,)))
    chance = retrieval.chance(collapsed(100))["collapsed"]
    rounds = [retrieval.hits(collapsed(100, seed)) for seed in range(40)]
    for metric, expected in chance.items():
        assert 100 * np.mean([hits[metric].mean() for hits in rounds]) == pytest.approx(expected, abs=2.5)


def test_chance_never_exceeds_a_hundred() -> None:
    assert Retrieval().chance(noise(4))["independent"]["Ts-Vs@20"] == 100.0
    assert Retrieval().hits(noise(4))["Ts-Vs@20"].all()


def test_options_choose_ranks_and_directions() -> None:
    options = RetrievalOptions(ks=(3,), directions=("Vs-Ts",))
    assert list(Retrieval(options).hits(noise(5))) == ["Vs-Ts@3"]
    for wrong in ({"ks": (0,)}, {"directions": ("Tx-Vs",)}, {"ks": ()}, {"depth": 3}):
        with pytest.raises(ValidationError):
            RetrievalOptions.model_validate(wrong)
