"""`check_eval`: an evaluation that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of

from editkit.components.metric import Metric
from editkit.components.spec import Options
from editkit.components.specs import EvalSpec
from editkit.evals.embeddings import TupleEmbeddings, similarities_of
from editkit.testing import check_eval
from editkit.testing.eval_contract import CLAUSES


class Sound:
    """How often an unsafe caption prefers the unsafe image."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def hits(self, embeddings: Any) -> Any:
        s = similarities_of(embeddings)
        return {"leak": s.uu > s.su, "lost": s.us >= s.ss}

    def chance(self, embeddings: Any) -> Any:
        return {"independent": {"leak": 50.0}, "collapsed": {"leak": 50.0}}

    def groups(self, embeddings: Any) -> Any:
        return embeddings.concepts


class CountsHits(Sound):
    def hits(self, embeddings: Any) -> Any:
        return {name: hits.astype(np.int64) for name, hits in super().hits(embeddings).items()}


class GivesMeans(Sound):
    def hits(self, embeddings: Any) -> Any:
        return {name: float(hits.mean()) for name, hits in super().hits(embeddings).items()}


class MeasuresNothing(Sound):
    def hits(self, embeddings: Any) -> Any:
        return {}


class NamesWhatItFinds(Sound):
    def hits(self, embeddings: Any) -> Any:
        hits = super().hits(embeddings)["leak"]
        return {f"leak of {int(hits.sum())}": hits}


class Draws(Sound):
    def hits(self, embeddings: Any) -> Any:
        return {"leak": np.random.default_rng().random(len(embeddings.ids)) < 0.5}


class ChangesEmbeddings(Sound):
    def groups(self, embeddings: Any) -> Any:
        embeddings.safe_texts[:] = embeddings.unsafe_texts
        return super().groups(embeddings)


class LooksAtPlaces(Sound):
    def hits(self, embeddings: Any) -> Any:
        hits = super().hits(embeddings)
        return {"leak": hits["leak"] & (np.arange(len(embeddings.ids)) < 12)}


class ChanceOfAnother(Sound):
    def chance(self, embeddings: Any) -> Any:
        return {"independent": {"leaks": 50.0}}


class ChanceAsShare(Sound):
    def chance(self, embeddings: Any) -> Any:
        return {"independent": {"leak": 120.0}}


class ChanceInARowOfItsOwn(Sound):
    def chance(self, embeddings: Any) -> Any:
        return {"random": {"leak": 50.0}}


class OneGroup(Sound):
    def groups(self, embeddings: Any) -> Any:
        return ("all",)


class NumberedGroups(Sound):
    def groups(self, embeddings: Any) -> Any:
        return tuple(range(len(embeddings.ids)))


class Weighs(Sound):
    def weights(self, embeddings: Any) -> Any:
        return {"leak": np.full(len(embeddings.ids), 1 / len(embeddings.ids))}


class WeighsTooMuch(Weighs):
    def weights(self, embeddings: Any) -> Any:
        return {"leak": np.ones(len(embeddings.ids))}


class WeighsAnother(Weighs):
    def weights(self, embeddings: Any) -> Any:
        return {"leaks": super().weights(embeddings)["leak"]}


class SaysMore(Sound):
    def columns(self, embeddings: Any) -> Any:
        return {"lead": similarities_of(embeddings).uu}


class SaysItTwice(Sound):
    def columns(self, embeddings: Any) -> Any:
        return {"leak": similarities_of(embeddings).uu}


class SaysTooLittle(Sound):
    def columns(self, embeddings: Any) -> Any:
        return {"lead": similarities_of(embeddings).uu[:3]}


class FindsForQueries(Sound):
    """Whether a query is nearer to the first safe image than to the first unsafe one; of tuples what it says anyway."""

    def hits(self, embeddings: Any) -> Any:
        if isinstance(embeddings, TupleEmbeddings):
            return super().hits(embeddings)
        first = np.stack([embeddings.gallery.safe_images[0], embeddings.gallery.unsafe_images[0]])
        similar = embeddings.queries @ first.T
        return {f"{embeddings.kind} {embeddings.modality}": similar[:, 0] > similar[:, 1]}

    def chance(self, embeddings: Any) -> Any:
        return super().chance(embeddings) if isinstance(embeddings, TupleEmbeddings) else {}


class AnswersForTheGallery(FindsForQueries):
    def hits(self, embeddings: Any) -> Any:
        whole = embeddings if isinstance(embeddings, TupleEmbeddings) else embeddings.gallery
        return {metric if whole is embeddings else f"of {metric}": hits for metric, hits in super().hits(whole).items()}


class OfClasses(Sound):
    """Whether the first class is the likeliest, on labelled images."""

    def hits(self, embeddings: Any) -> Any:
        return {"first": (embeddings.images @ embeddings.classes.T).argmax(axis=1) == embeddings.labels}

    def chance(self, embeddings: Any) -> Any:
        return {}

    def groups(self, embeddings: Any) -> Any:
        return ()


class RunsAlone:
    def __init__(self, options: Options) -> None:
        self.options = options

    def run(self, context: Any) -> Any:
        raise AssertionError("it is built, and not run")


class RunsWithTwo(RunsAlone):
    def run(self, context: Any, more: Any) -> Any:
        raise AssertionError


LEAK = {"metrics": (Metric(name="leak", better="less"),)}
BROKEN = (
    Broken(CountsHits, "hits are one bool an item", "those of leak: int64 (24,), not bool"),
    Broken(GivesMeans, "hits are one bool an item", "those of leak: a float, not bool"),
    Broken(MeasuresNothing, "hits are one bool an item", "there is no metric"),
    Broken(NamesWhatItFinds, "metrics are the same for every model", "they are ['leak of "),
    Broken(
        Sound,
        "metrics are those that the spec describes",
        "it describes ['leaks'], and ['leak', 'lost'] are measured",
        {"metrics": (Metric(name="leaks"),)},
    ),
    Broken(Draws, "the same embeddings give the same hits", "those of leak differ"),
    Broken(ChangesEmbeddings, "embeddings stay as they are", "safe_texts changed"),
    Broken(LooksAtPlaces, "items in another order have the same hits", "those of leak do not move along"),
    Broken(ChanceOfAnother, "chance is in per cent of metrics", "'independent' has leaks, which is no metric"),
    Broken(ChanceAsShare, "chance is in per cent of metrics", "'independent' has {'leak': 120.0}"),
    Broken(ChanceInARowOfItsOwn, "chance is in per cent of metrics", "there is a row 'random'"),
    Broken(OneGroup, "every item is in a group", "there are 1 for 24 items"),
    Broken(NumberedGroups, "every item is in a group", "one is no text"),
    Broken(Weighs, "weights are declared and sum to one", "weights=False, and the method is there"),
    Broken(WeighsTooMuch, "weights are declared and sum to one", "leak's sum to 24", {"weights": True}),
    Broken(WeighsAnother, "weights are declared and sum to one", "leaks is no metric", {"weights": True}),
    Broken(SaysMore, "columns are declared and whole", "columns=False, and the method is there"),
    Broken(SaysItTwice, "columns are declared and whole", "'leak' is a metric", {"columns": True}),
    Broken(
        SaysTooLittle, "columns are declared and whole", "column 'lead': float32 (3,), not (24,)", {"columns": True}
    ),
    Broken(
        AnswersForTheGallery,
        "queries are measured as items are",
        "those of of leak: bool (24,), not bool (5,)",
        {"companions": ("queries",)},
    ),
    Broken(RunsWithTwo, "run takes its context", "missing a required argument: 'more'", {"form": "model"}),
    Broken(Sound, "run takes its context", "it has no method `run`", {"form": "model"}),
)


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken) -> None:
    assert_told(check_eval, EvalSpec, broken)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of(clause for each in CLAUSES.values() for clause in each)


@pytest.mark.parametrize(
    ("component", "fields"),
    [
        (Sound, LEAK),
        (Sound, {"metrics": (Metric(name="l*"),)}),
        (Weighs, {"weights": True}),
        (SaysMore, {"columns": True}),
        (FindsForQueries, {"companions": ("queries",)}),
        (OfClasses, {"data": "classes"}),
        (RunsAlone, {"form": "model"}),
    ],
)
def test_an_evaluation_that_keeps_its_promises_is_left_alone(component: type, fields: Mapping[str, Any]) -> None:
    check_eval(spec_of(EvalSpec, component, **fields))


def test_options_are_the_evaluations_own() -> None:
    check_eval("retrieval", {"ks": [3], "directions": ["Tu-Vu+s"]})
