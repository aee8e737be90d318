"""Every tuple in a Parquet file: similarities, hits and ranks against loops, and the report counted from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import as_error, cache_at, done, run
from embedding_samples import noise, similarity, tied, tuples
from models import table, tiny_clip
from scipy import stats

import editkit
from editkit.errors import OutputError, RecipeError
from editkit.evals.embeddings import TupleEmbeddings
from editkit.evals.options import RetrievalOptions
from editkit.evals.retrieval import Retrieval
from editkit.evals.safeground import METRICS, SafeGround
from editkit.evals.similarities import similarity_file
from editkit.evals.statistics import tango
from editkit.models.variants import Variant

PREFERENCES = {
    "P_s^t": ("s_vs_ts", "s_vu_ts"),
    "P_u^t": ("s_vs_tu", "s_vu_tu"),
    "P_s^v": ("s_vs_ts", "s_vs_tu"),
    "P_u^v": ("s_vu_ts", "s_vu_tu"),
}
SIMILARITIES = ("s_vs_ts", "s_vu_ts", "s_vs_tu", "s_vu_tu")
FACTS = ("model", "patch", "control", "id", "concept")


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]


def written(path: Path, evaluation: Any, **models: TupleEmbeddings) -> list[dict[str, Any]]:
    """The rows of a file with the hits, and the columns if it has some, of several models."""
    with similarity_file(path, {"evaluation": "mine"}) as file:
        for name, embeddings in models.items():
            variant = Variant(name, {}, f"p/{name}" if name != "base" else None)
            columns = evaluation.columns(embeddings) if isinstance(evaluation, Retrieval) else {}
            file.write(variant, embeddings, {**evaluation.hits(embeddings), **columns})
    return rows(path)


def test_similarities_equal_a_loop_and_comparing_them_gives_the_hits(tmp_path: Path) -> None:
    e = tied(40, seed=3)
    found = written(tmp_path / "s.parquet", SafeGround(), base=e)
    assert list(found[0]) == [*FACTS, *SIMILARITIES, *METRICS]
    sides = {"vs": e.safe_images, "vu": e.unsafe_images, "ts": e.safe_texts, "tu": e.unsafe_texts}
    for i, row in enumerate(found):
        for name in SIMILARITIES:
            _, image, text = name.split("_")
            assert np.float32(row[name]) == similarity(sides[image][i], sides[text][i])
        for metric, (left, right) in PREFERENCES.items():
            assert row[metric] == (row[left] > row[right])
        assert row["GS"] == all(row[metric] for metric in PREFERENCES)
    assert any(row[left] == row[right] for row in found for left, right in PREFERENCES.values())  # ties were planted


def test_ranks_equal_a_loop_and_hits_follow_from_them(tmp_path: Path) -> None:
    e = tied(15, seed=1)
    found = written(tmp_path / "s.parquet", Retrieval(RetrievalOptions(ks=(1, 5))), base=e)
    galleries = {
        "Ts-Vs": (e.safe_texts, e.safe_images),
        "Vs-Ts": (e.safe_images, e.safe_texts),
        "Tu-Vu+s": (e.unsafe_texts, np.concatenate([e.safe_images, e.unsafe_images])),
        "Vu-Tu+s": (e.unsafe_images, np.concatenate([e.safe_texts, e.unsafe_texts])),
    }
    for direction, (queries, gallery) in galleries.items():
        for i, row in enumerate(found):
            scores = [similarity(queries[i], item) for item in gallery]
            place = 1 + sorted(range(len(scores)), key=lambda j: (-scores[j], j)).index(i)
            assert row[f"rank {direction}"] == place
            assert row[direction] == (place <= 1) and row[f"{direction}@5"] == (place <= 5)


def test_there_is_a_row_for_each_tuple_and_model_in_order(tmp_path: Path) -> None:
    concepts = ("blood", "weapons", "blood")
    parts = [noise(3, seed) for seed in (0, 1)]
    models = [tuples(e.safe_images, e.unsafe_images, e.safe_texts, e.unsafe_texts, concepts=concepts) for e in parts]
    found = written(tmp_path / "s.parquet", SafeGround(), base=models[0], uwm=models[1])
    assert [(row["model"], row["patch"], row["id"], row["concept"]) for row in found] == [
        (model, patch, str(i), concept)
        for model, patch in (("base", None), ("uwm", "p/uwm"))
        for i, concept in enumerate(concepts)
    ]


def test_the_file_says_what_it_is_and_what_it_was_measured_on(tmp_path: Path) -> None:
    written(tmp_path / "s.parquet", SafeGround(), base=noise(3))
    metadata = pq.read_schema(tmp_path / "s.parquet").metadata
    assert metadata[b"schema"] == b"editkit.tuples/1" and metadata[b"evaluation"] == b"mine"


def test_the_file_appears_whole_or_not_at_all_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    with pytest.raises(KeyboardInterrupt), similarity_file(path, {}) as file:
        file.write(Variant("base", {}), noise(3), SafeGround().hits(noise(3)))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    written(path, SafeGround(), base=noise(3))
    with pytest.raises(OutputError, match="exists already"), similarity_file(path, {}):
        pass


# On the command line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a table of tuples and two patches."""
    root = tmp_path_factory.mktemp("similarities")
    tiny_clip(root / "model")
    table(root / "pairs", 30, split="test")
    with cache_at(root / "cache"):
        for name, tau in (("mild", 0.3), ("strong", 0.9)):
            done("edit", *flags(root), "--tau", tau, "-o", root / name)
    return root


def flags(place: Path) -> tuple[object, ...]:
    return "--model", place / "model", "--data", place / "pairs" / "t.jsonl", "--workers", 0


@pytest.mark.parametrize("evaluation", ["safeground", "retrieval"])
def test_two_patches_have_rates_intervals_changes_and_concepts_that_are_counted_from_the_file(
    evaluation: str, place: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.parquet"
    patches = ("--patch", place / "mild", "--patch", place / "strong")
    with cache_at(place / "cache"):
        ran = done("eval", evaluation, *flags(place), *patches, "--similarities", path, "--json")
        plain = done("eval", evaluation, *flags(place), *patches, "--json").json
    report = ran.json
    assert report == plain  # asking for the file moves no number
    found = rows(path)
    by_model: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_model.setdefault(row["model"], []).append(row)
    everything = report["models"] + report["controls"]
    assert list(by_model) == [row["name"] for row in everything] or set(by_model) == {row["name"] for row in everything}
    assert [row["name"] for row in report["models"]] == ["base", "mild", "strong"] and len(report["controls"]) == 8
    for row in everything:
        mine = by_model[row["name"]]
        assert {one["patch"] for one in mine} == {row["patch"]}
        assert {one["control"] for one in mine} == {row in report["controls"]}
        for metric in row["by_concept"][mine[0]["concept"]]:
            check(row, metric, mine, by_model["base"])
        for concept, rates in row["by_concept"].items():
            hits = [
                one["GS" if evaluation == "safeground" else "Tu-Vu+s@5"] for one in mine if one["concept"] == concept
            ]
            rate = rates["GS" if evaluation == "safeground" else "Tu-Vu+s@5"]
            assert rate["n"] == len(hits) and rate["value"] == pytest.approx(100 * np.mean(hits))


def check(row: Mapping[str, Any], metric: str, mine: list[dict[str, Any]], base: list[dict[str, Any]]) -> None:
    """A rate and its interval, a change, its p and its interval, from single tuples."""
    hits, before = (np.array([one[metric] for one in model]) for model in (mine, base))
    rate = row["metrics"][metric]
    expected = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    assert rate["n"] == len(hits) == 30 and rate["value"] == pytest.approx(100 * hits.mean())
    assert (rate["low"], rate["high"]) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
    if row["name"] == "base":
        assert row["difference"] == {}
        return
    change = row["difference"][metric]
    gained, lost = int((hits & ~before).sum()), int((before & ~hits).sum())
    assert change["value"] == pytest.approx(100 * (gained - lost) / 30)
    exact = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    p = 1.0 if gained == lost else exact - stats.binom.pmf(gained, gained + lost, 0.5)
    assert change["p"] == pytest.approx(p)
    low, high = tango(gained, lost, 30)
    low, high = (low, high) if p < 0.05 else (min(low, 0), max(high, 0))
    assert (change["low"], change["high"]) == pytest.approx((100 * low, 100 * high))


def test_what_was_left_out_is_not_in_the_file(place: Path, tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs", 8, split="test")
    next((tmp_path / "pairs").glob("safe-*.jpg")).write_bytes(b"no image")
    command = (
        "eval",
        "safeground",
        "--model",
        place / "model",
        "--data",
        pairs,
        "--on-bad-item",
        "skip",
        "--workers",
        0,
    )
    report = done(*command, "--similarities", tmp_path / "s.parquet", "--json").json
    [left_out] = report["left_out"]
    assert len(rows(tmp_path / "s.parquet")) == 7
    assert left_out["id"] not in {row["id"] for row in rows(tmp_path / "s.parquet")}


def test_a_file_that_exists_or_cannot_be_is_refused_before_any_work(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    path.write_text("mine")
    message = as_error(run("eval", "safeground", *flags(place), "--similarities", path))
    assert "exists already" in message and path.read_text() == "mine"
    with pytest.raises(RecipeError, match="no four similarities"):
        editkit.evaluate("zeroshot", similarities=tmp_path / "other.parquet")
    assert run("eval", "zeroshot", "--similarities", tmp_path / "other.parquet").code == 2
