"""The contract of an evaluation, clause by clause, and `check_eval`, which holds one to it on embeddings of its own.

Which clauses there are depends on the evaluation's form: `CLAUSES`. They run in this order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.specs import EvalSpec
from editkit.data.queries import KINDS
from editkit.evals.embeddings import ClassEmbeddings, Floats, Integers, QueryEmbeddings, TupleEmbeddings
from editkit.testing.contract import DEFAULTS, Given, build, called, chosen, hold, require, unchanged

Embeddings = TupleEmbeddings | ClassEmbeddings
Asked = Embeddings | QueryEmbeddings

ITEMS, WIDTH, NAMES = 24, 16, ("cat", "dog", "bird", "fish", "tree", "car", "house")
ROWS = ("independent", "collapsed")


def check_eval(evaluation: str | EvalSpec, options: Given = DEFAULTS, *, host: Host | None = None) -> None:
    """Hold an evaluation to its contract: of embeddings on random ones; one that runs by itself is only built.

    Args:
        evaluation: the name it is registered under, or its spec.
        options: the evaluation's options by name.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        PluginError: no such evaluation.
        RecipeError: an option it does not take.
    """
    choice = chosen(EvalSpec, evaluation, options, host or default_host())
    case = Case(choice)
    hold(called(choice), CLAUSES[case.spec.form], case)


@dataclass
class Case:
    """An evaluation, and random embeddings of what it evaluates."""

    choice: Choice

    @property
    def spec(self) -> EvalSpec:
        return cast(EvalSpec, self.choice.spec)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Of one model; what is asked of it is asked of these."""
        return self.drawn(0)

    @cached_property
    def hits(self) -> dict[str, Any]:
        """The hits of that model."""
        return dict(self.ask("hits"))

    def ask(self, method: str, embeddings: Asked | None = None) -> Any:
        """Return what a new evaluation says of embeddings."""
        return getattr(build(self.choice), method)(self.embeddings if embeddings is None else embeddings)

    def drawn(self, model: int) -> Embeddings:
        """Return embeddings of the same items by one of many models."""
        draw = np.random.default_rng(model)

        def units(count: int) -> Floats:
            drawn = draw.normal(size=(count, WIDTH)).astype(np.float32)
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            return drawn

        ids = tuple(map(str, range(ITEMS)))
        if self.spec.data == "tuples":
            concepts = tuple(("hate", "violence", "theft")[place % 3] for place in range(ITEMS))
            return TupleEmbeddings(units(ITEMS), units(ITEMS), units(ITEMS), units(ITEMS), ids, concepts)
        return ClassEmbeddings(units(ITEMS), units(len(NAMES)), np.arange(ITEMS) % (len(NAMES) - 1), NAMES, ids)


def run_takes_its_context(case: Case) -> None:
    """It is built, and has a method `run` that takes one argument, its context."""
    evaluation = build(case.choice)
    require(callable(getattr(evaluation, "run", None)), "it has no method `run`")
    inspect.signature(evaluation.run).bind(None)


def hits_are_one_bool_an_item(case: Case) -> None:
    """`hits` gives for each metric a bool array [n] or, where the spec says `scores`, a float64 one of shares; there is
    one metric at least, and each has a name."""
    require(bool(case.hits), "there is no metric")
    for metric, hits in case.hits.items():
        require(isinstance(metric, str) and bool(metric), f"a metric is called {metric!r}")
        _require_hits(case.spec, hits, ITEMS, metric)


def metrics_are_the_same_for_every_model(case: Case) -> None:
    """Other embeddings of the same items are measured by the same metrics, in the same order."""
    found = list(case.ask("hits", case.drawn(1)))
    require(found == list(case.hits), f"they are {found}, and were {list(case.hits)}")


def queries_are_measured_as_items_are(case: Case) -> None:
    """Where the spec has "queries" among its `companions`, hits of queries of each kind are arrays of the same form."""
    for kind in KINDS if "queries" in case.spec.companions else ():
        for modality in ("text", "image"):
            gallery = cast(TupleEmbeddings, case.embeddings)
            few = QueryEmbeddings(gallery.safe_texts[:5], np.arange(5), kind, modality, gallery.ids[:5], gallery)
            found = dict(case.ask("hits", few))
            for metric, hits in found.items():
                require(metric not in case.hits, f"{metric} is of tuples and of queries")
                _require_hits(case.spec, hits, 5, metric)
            levels = {metric for row in dict(case.ask("chance", few)).values() for metric in row}
            require(levels <= set(found), f"chance has {sorted(levels - set(found))}, which is no metric")


def metrics_are_those_that_the_spec_describes(case: Case) -> None:
    """Where the spec describes metrics, some of them are measured; others have their bare names."""
    described = [metric for metric in case.hits if any(facts.named(metric) for facts in case.spec.metrics)]
    told = f"it describes {[facts.name for facts in case.spec.metrics]}, and {list(case.hits)} are measured"
    require(bool(described) or not case.spec.metrics, told)


def the_same_embeddings_give_the_same_hits(case: Case) -> None:
    """Hits are the same each time."""
    again = case.ask("hits")
    off = [metric for metric, hits in case.hits.items() if not np.array_equal(hits, again[metric])]
    require(not off, f"those of {', '.join(off)} differ")


def embeddings_stay_as_they_are(case: Case) -> None:
    """No method changes the embeddings that it is given."""
    held = {name: torch.from_numpy(array) for name, array in _arrays(case.embeddings).items()}  # of the same memory
    methods = ("hits", "chance", "groups", *(name for name in ("weights", "columns") if getattr(case.spec, name)))
    for method in methods:
        with unchanged(held):
            case.ask(method)


def items_in_another_order_have_the_same_hits(case: Case) -> None:
    """Hits belong to items, wherever these stand."""
    order = np.random.default_rng(2).permutation(ITEMS)
    moved = case.ask("hits", _reordered(case.embeddings, order))
    off = [metric for metric, hits in case.hits.items() if not np.array_equal(hits[order], moved[metric])]
    require(not off, f"those of {', '.join(off)} do not move along")


def chance_is_in_per_cent_of_metrics(case: Case) -> None:
    """`chance` has no rows but "independent" and "collapsed", with values from 0 to 100 for metrics that there are."""
    for row, levels in dict(case.ask("chance")).items():
        require(row in ROWS, f"there is a row {row!r}")
        strange = sorted(set(levels) - set(case.hits))
        require(not strange, f"'{row}' has {', '.join(strange)}, which is no metric")
        wrong = {metric: value for metric, value in levels.items() if not 0 <= value <= 100}
        require(not wrong, f"'{row}' has {wrong}")


def every_item_is_in_a_group(case: Case) -> None:
    """`groups` gives the concept of each item, in their order; or nothing at all."""
    groups = case.ask("groups")
    require(len(groups) in (0, ITEMS), f"there are {len(groups)} for {ITEMS} items")
    require(all(isinstance(group, str) for group in groups), "one is no text")


def weights_are_declared_and_sum_to_one(case: Case) -> None:
    """There is a method `weights` if and only if the spec says so; of each metric that it names [n], of sum 1."""
    _require_declared(case, "weights")
    for metric, weights in dict(case.ask("weights") if case.spec.weights else {}).items():
        require(metric in case.hits, f"{metric} is no metric")
        _require_array(weights, np.float64, f"those of {metric}")
        require(bool((weights >= 0).all()) and bool(np.isclose(weights.sum(), 1)), f"{metric}'s sum to {weights.sum()}")


def columns_are_declared_and_whole(case: Case) -> None:
    """There is a method `columns` if and only if the spec says so; each is [n], with a name that is no metric's."""
    _require_declared(case, "columns")
    for name, column in dict(case.ask("columns") if case.spec.columns else {}).items():
        require(isinstance(name, str) and name not in case.hits, f"{name!r} is a metric")
        _require_array(column, None, f"column '{name}'")


def _require_declared(case: Case, method: str) -> None:
    there = callable(getattr(build(case.choice), method, None))
    said = getattr(case.spec, method)
    require(there == said, f"the spec has {method}={said}, and the method {'is there' if there else 'is not'}")


def _require_hits(spec: EvalSpec, hits: object, n: int, metric: str) -> None:
    scored = spec.scores and isinstance(hits, np.ndarray) and hits.dtype == np.float64
    _require_array(hits, np.float64 if scored else np.bool_, f"those of {metric}", n)
    if scored:
        require(bool(((cast(Any, hits) >= 0) & (cast(Any, hits) <= 1)).all()), f"scores of {metric} are no shares")


def _require_array(found: object, dtype: type[np.generic] | None, what: str, n: int = ITEMS) -> None:
    fits = isinstance(found, np.ndarray) and found.shape == (n,) and dtype in (None, found.dtype.type)
    told = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
    require(fits, f"{what}: {told}, not {'' if dtype is None else dtype.__name__ + ' '}({n},)")


def _arrays(embeddings: Embeddings) -> dict[str, Any]:
    held = {field.name: getattr(embeddings, field.name) for field in fields(embeddings)}
    return {name: value for name, value in held.items() if isinstance(value, np.ndarray)}


def _reordered(embeddings: Embeddings, order: Integers) -> Embeddings:
    """Return the same items in another order; classes stay where they are."""
    apart = {"classes", "names"}
    moved: dict[str, Any] = {}
    for field in fields(embeddings):
        held = getattr(embeddings, field.name)
        if field.name not in apart and held is not None:
            moved[field.name] = held[order] if isinstance(held, np.ndarray) else tuple(held[i] for i in order)
    return replace(embeddings, **moved)


CLAUSES: Mapping[str, tuple[Callable[[Case], None], ...]] = {
    "model": (run_takes_its_context,),
    "embeddings": (
        hits_are_one_bool_an_item,
        queries_are_measured_as_items_are,
        metrics_are_the_same_for_every_model,
        metrics_are_those_that_the_spec_describes,
        the_same_embeddings_give_the_same_hits,
        embeddings_stay_as_they_are,
        items_in_another_order_have_the_same_hits,
        chance_is_in_per_cent_of_metrics,
        every_item_is_in_a_group,
        weights_are_declared_and_sum_to_one,
        columns_are_declared_and_whole,
    ),
}
"""By the form that the spec says."""
