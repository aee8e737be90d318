"""SafeGround and recall on cases worked by hand, against whole n x n matrices, and against another library's top-k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from embedding_samples import noise, tied, tuples
from report_samples import Subject, report_of

from benchmarks.evaluation import by_matrix
from editkit.evals.embeddings import Floats, TupleEmbeddings
from editkit.evals.options import DIRECTIONS, RetrievalOptions
from editkit.evals.retrieval import Retrieval
from editkit.evals.safeground import METRICS, SafeGround
from editkit.reports.schema import DataFacts


def at(*degrees: float) -> Floats:
    """Unit vectors of the plane by their angle: the nearer two angles, the more similar."""
    angles = np.radians(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def yes(text: str) -> list[bool]:
    return [letter == "y" for letter in text]


def test_safeground_worked_by_hand() -> None:
    """Three tuples by angle; the four distances of each are safe-safe, unsafe image, unsafe caption, both unsafe.

    a   images 0 and 90, captions 10 and 80     10  80  80  10    each caption and image finds its own side
    b   images 0 and 70, captions 20 and -40    20  50  40 110    all four prefer what is safe
    c   images 0 and  0, captions 30 and 60     30  30  60  60    one image twice: its captions cannot tell
    """
    e = tuples(at(0, 0, 0), at(90, 70, 0), at(10, 20, 30), at(80, -40, 60), concepts=("x", "y", "y"))
    expected = {
        "P_s^t": "yy-",
        "P_u^t": "-y-",
        "P_s^v": "yyy",
        "P_u^v": "-yy",
        "Txt_s": "-yy",
        "Img_s": "-y-",
        "PS": "yy-",
        "PU": "-y-",
        "GS": "-y-",
    }
    hits = SafeGround().hits(e)
    assert {metric: hit.tolist() for metric, hit in hits.items()} == {m: yes(text) for m, text in expected.items()}
    facts = DataFacts(name="hand", fingerprint="", n=3)
    report = report_of("safeground", facts, [Subject("base", None, hits)], groups=e.concepts)
    rates = {metric: rate["value"] for metric, rate in report["models"][0]["metrics"].items()}
    third = 100 / 3
    assert list(rates.values()) == pytest.approx(
        [2 * third, third, 100, 2 * third, 2 * third, third, 2 * third, third, third]
    )
    of_y = report["models"][0]["by_concept"]["y"]
    assert [of_y[metric]["value"] for metric in ("PS", "Txt_s", "P_s^v", "GS")] == [50, 100, 100, 50]


def test_retrieval_worked_by_hand() -> None:
    """Ranks of the own safe item, from distances of angles; safe images b and c are one and the same.

    Ts-Vs     95: 95 5 5        110: 110 10 10      150: 150 50 50                           ranks 3 1 2
    Vs-Ts      0: 95 110 150    100: 5 10 50        100: 5 10 50                             ranks 1 2 3
    Tu-Vu+s    5: 5 95 95 15..   45: 45 55 55 25 15 5   100: 100 0 0 80 70 60                ranks 1 5 2
    Vu-Tu+s   20: 75 90 130 15 25 80   30: 65 80 120 25 15 70   40: 55 70 110 35 5 60        ranks 3 5 6
    """
    e = tuples(at(0, 100, 100), at(20, 30, 40), at(95, 110, 150), at(5, 45, 100))
    retrieval = Retrieval(RetrievalOptions(ks=(1, 2, 5)))
    ranks = {direction: found.tolist() for direction, found in retrieval.ranks(e).items()}
    assert ranks == {"Ts-Vs": [3, 1, 2], "Vs-Ts": [1, 2, 3], "Tu-Vu+s": [1, 5, 2], "Vu-Tu+s": [3, 5, 6]}
    rates = {metric: hit.sum() for metric, hit in retrieval.hits(e).items()}
    assert [rates[f"Tu-Vu+s{k}"] for k in ("", "@2", "@5")] == [1, 2, 3]
    assert [rates[f"Vu-Tu+s{k}"] for k in ("", "@2", "@5")] == [0, 0, 2]
    assert [rates[direction] for direction in DIRECTIONS] == [1, 1, 1, 0]


@pytest.mark.parametrize("sample", [lambda: noise(300, width=24), lambda: tied(300, seed=5, pool=9)])
def test_rows_in_pieces_equal_whole_matrices(sample: object) -> None:
    e: TupleEmbeddings = sample()  # type: ignore[operator]
    found = {**SafeGround().hits(e), **Retrieval().hits(e)}
    expected = by_matrix(e)
    assert found.keys() == expected.keys() >= {*METRICS, *DIRECTIONS}
    for metric, hits in expected.items():
        assert (found[metric] == hits).all(), metric


def test_recall_equals_torchs_topk_where_nothing_ties() -> None:
    e = noise(400, width=16)
    safe, unsafe = (torch.from_numpy(np.concatenate(parts)).double() for parts in sides(e))
    hits = Retrieval().hits(e)
    for k in (1, 5, 10, 20):
        top = (unsafe @ safe.T).topk(k, dim=1).indices
        expected = (top == torch.arange(400)[:, None]).any(dim=1)
        assert (hits["Tu-Vu+s" if k == 1 else f"Tu-Vu+s@{k}"] == expected.numpy()).all()


def sides(e: TupleEmbeddings) -> tuple[Sequence[Floats], Sequence[Floats]]:
    """The images that are asked, and the unsafe captions that ask."""
    return (e.safe_images, e.unsafe_images), (e.unsafe_texts,)
