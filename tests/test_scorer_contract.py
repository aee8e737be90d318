"""`check_scorer`: a scorer that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of
from torch import Tensor

from editkit.components.inputs import Inputs
from editkit.components.protocols import LossEmbeddings, State
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.components.specs import ScorerSpec
from editkit.errors import PluginError, RecipeError
from editkit.testing import check_scorer
from editkit.testing.scorer_contract import CLAUSES

WEIGHTS, GRADIENTS, SAMPLES = ({"needs": needs} for needs in ("weights", "gradients", "sample-gradients"))


class Sound:
    """|W| times the mean norm of its inputs on unsafe samples."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def start(self, weight: Tensor, site: Site) -> State:
        return {"sum": weight.new_zeros(weight.shape[1]), "pairs": weight.new_zeros(())}

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"] += unsafe.norm.sum(dim=0)
        state["pairs"] += len(unsafe.norm)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return weight.abs() * state["sum"] / state["pairs"]


class InDouble(Sound):
    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return super().finish(state, weight, site).double()


class Transposed(Sound):
    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return super().finish(state, weight, site).T


class OfTextAlone(Sound):
    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return super().finish(state, weight, site) / float(site.tower == "text")


class DividesByWhatMayBeZero(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"] += (unsafe.norm / safe.norm).sum(dim=0)
        state["pairs"] += len(unsafe.norm)


class ChangesTheWeight(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        super().update(state, weight.abs_(), safe, unsafe)


class ChangesInputs(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        unsafe.x.abs_()
        super().update(state, weight, safe, unsafe)


class Draws(Sound):
    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return torch.rand_like(weight)


class CountsInPython(Sound):
    def start(self, weight: Tensor, site: Site) -> Any:
        return {**super().start(weight, site), "pairs": 0}


class AddsMeansOfBatches(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"] += unsafe.norm.mean(dim=0)
        state["pairs"] += 1


class KeepsTheLargest(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"].copy_(torch.maximum(state["sum"], unsafe.norm.amax(dim=0)))
        state["pairs"].fill_(1)


class KeepsSumsToItself(Sound):
    total: Any = 0

    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        self.total = self.total + unsafe.norm.sum(dim=0)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return weight.abs() * self.total


class ReadsPadding(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"] += unsafe.x.float().square().sum(dim=(0, 1))
        state["pairs"] += len(unsafe.x)


class NeedsTwoTokens(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        state["sum"] += (unsafe.norm / (unsafe.count - 1)).sum(dim=0)
        state["pairs"] += len(unsafe.norm)


class InSinglePrecisionOnly(Sound):
    def update(self, state: State, weight: Tensor, safe: Inputs, unsafe: Inputs) -> None:
        outputs = unsafe.x.masked_fill(~unsafe.mask[..., None], 0) @ weight.T
        state["sum"] += outputs.abs().sum()
        state["pairs"] += len(outputs)


class NotesShares(Sound):
    def notes(self, state: State, weight: Tensor) -> Mapping[str, Any]:
        return {"zero_rows": 0.5}


class SoundByWeights(Sound):
    """|W|: no `update` is called."""

    def update(self, *given: Any) -> None:
        raise AssertionError("there is nothing to look at")

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return weight.abs()


class DrawsByWeights(SoundByWeights):
    finish = Draws.finish


class SoundByGradients(Sound):
    """|mean gradient of an unsafe item's distance to its safe twin in the other tower|."""

    def loss_batch(self, tower: str) -> int | None:
        return None

    def loss(self, embedded: LossEmbeddings) -> Tensor:
        return (1 - (embedded.own_unsafe * embedded.other_safe).sum(dim=-1)).mean()

    def start(self, weight: Tensor, site: Site) -> State:
        return {"sum": torch.zeros_like(weight), "tuples": weight.new_zeros(())}

    def update(self, state: State, weight: Tensor, gradient: Any, tuples: Any) -> None:
        state["sum"] += gradient * tuples
        state["tuples"] += tuples

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return (state["sum"] / state["tuples"]).abs()


class LossOfEach(SoundByGradients):
    def loss(self, embedded: LossEmbeddings) -> Tensor:
        return (embedded.own_unsafe * embedded.other_safe).sum(dim=-1)


class LossOfTheOtherTower(SoundByGradients):
    def loss(self, embedded: LossEmbeddings) -> Tensor:
        return (embedded.other_unsafe * embedded.other_safe).sum()


class InfiniteLoss(SoundByGradients):
    def loss(self, embedded: LossEmbeddings) -> Tensor:
        return super().loss(embedded) / 0


class SumOfLosses(SoundByGradients):
    def loss(self, embedded: LossEmbeddings) -> Tensor:
        return (embedded.own_unsafe * embedded.other_safe).sum()


class BatchesOfNone(SoundByGradients):
    def loss_batch(self, tower: str) -> int | None:
        return 0


class SumOfLossesOverEight(SumOfLosses):
    """A loss of whole batches, which need not be a mean."""

    def loss_batch(self, tower: str) -> int | None:
        return 8


class SoundBySamples(Sound):
    """Mean squared gradient of unsafe samples."""

    sides: tuple[str, ...] = ("unsafe",)

    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        return 1 - (own * other).sum(dim=-1)

    def start(self, weight: Tensor, site: Site) -> State:
        return {"sum": torch.zeros_like(weight), "samples": weight.new_zeros(())}

    def update(self, state: State, weight: Tensor, side: Any, gradients: Any) -> None:
        state["sum"] += gradients.square().sum(dim=0)
        state["samples"] += len(gradients)

    def finish(self, state: State, weight: Tensor, site: Site) -> Tensor:
        return state["sum"] / state["samples"]


class OtherSides(SoundBySamples):
    sides = ("unsafe", "left")


class MeanLoss(SoundBySamples):
    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        return super().loss(own, other, other_twin).mean()


class Contrasts(SoundBySamples):
    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        return -(own @ other.T).log_softmax(dim=0).diagonal()


class FrozenLoss(SoundBySamples):
    def loss(self, own: Tensor, other: Tensor, other_twin: Tensor) -> Tensor:
        return super().loss(own * 0, other, other_twin)


BROKEN = (
    Broken(InDouble, "scores are finite numbers of the weights shape", "scores are torch.float64 (4, 7)"),
    Broken(Transposed, "scores are finite numbers of the weights shape", "scores are torch.float32 (7, 4)"),
    Broken(OfTextAlone, "scores are finite numbers of the weights shape", "28 scores are not finite"),
    Broken(DividesByWhatMayBeZero, "dead units have scores too", "scores are not finite"),
    Broken(ChangesTheWeight, "weights and inputs stay as they are", "the weight changed"),
    Broken(ChangesInputs, "weights and inputs stay as they are", "x changed"),
    Broken(Draws, "the same samples give the same scores", "28 of 28 scores differ"),
    Broken(DrawsByWeights, "the same samples give the same scores", "28 of 28 scores differ", WEIGHTS),
    Broken(CountsInPython, "a state holds tensors", "'pairs' is a int"),
    Broken(AddsMeansOfBatches, "batches do not matter", "scores differ"),
    Broken(KeepsTheLargest, "states of two processes add", "scores differ"),
    Broken(KeepsSumsToItself, "states of two processes add", "scores differ"),
    Broken(ReadsPadding, "padding does not matter", "28 of 28 scores differ"),
    Broken(NeedsTwoTokens, "one token a sample is scored or refused", "28 scores are not finite"),
    Broken(InSinglePrecisionOnly, "inputs in half precision are scored", "RuntimeError"),
    Broken(NotesShares, "notes are counts", "'zero_rows' is 0.5", {"notes": True}),
    Broken(LossOfEach, "a loss is one finite number", "it is of shape (6,)", GRADIENTS),
    Broken(LossOfTheOtherTower, "a loss is one finite number", "it has no gradient by them", GRADIENTS),
    Broken(InfiniteLoss, "a loss is one finite number", "it is inf", GRADIENTS),
    Broken(SumOfLosses, "loss batch says over how many tuples a loss is", "gradients differ", GRADIENTS),
    Broken(BatchesOfNone, "loss batch says over how many tuples a loss is", "for text it is 0", GRADIENTS),
    Broken(OtherSides, "every sample has a loss of its own", "sides are ('unsafe', 'left')", SAMPLES),
    Broken(MeanLoss, "every sample has a loss of its own", "they are of shape ()", SAMPLES),
    Broken(Contrasts, "every sample has a loss of its own", "the first depends on other samples", SAMPLES),
    Broken(FrozenLoss, "every sample has a loss of its own", "the first has no gradient by its sample", SAMPLES),
)


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken) -> None:
    assert_told(check_scorer, ScorerSpec, broken)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of(clause for each in CLAUSES.values() for clause in each)


@pytest.mark.parametrize(
    ("component", "fields"),
    [
        (Sound, {}),
        (NeedsTwoTokens, {"spread": True}),
        (NotesShares, {}),
        (SoundByWeights, WEIGHTS),
        (SoundByGradients, GRADIENTS),
        (SumOfLossesOverEight, GRADIENTS),
        (SoundBySamples, SAMPLES),
    ],
)
def test_a_scorer_that_keeps_its_promises_is_left_alone(component: type, fields: Mapping[str, Any]) -> None:
    check_scorer(spec_of(ScorerSpec, component, **fields))


def test_options_are_the_scorers_own() -> None:
    check_scorer("uwm", {"aggregation": "means", "prior": "both"})
    with pytest.raises(RecipeError, match="aggregatoin"):
        check_scorer("uwm", {"aggregatoin": "means"})
    with pytest.raises(PluginError, match=r"Unknown scorer 'uvm'.*'uwm'"):
        check_scorer("uvm")


def test_a_spec_with_a_field_of_another_type_is_refused() -> None:
    with pytest.raises(PluginError, match="has notes = 'yes'"):
        check_scorer(spec_of(ScorerSpec, Sound, notes="yes"))
