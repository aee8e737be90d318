"""The contract of a scorer, clause by clause, and `check_scorer`, which holds one to it at a small site.

Which clauses there are depends on what the scorer needs: `CLAUSES`. They run in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.site import TOWERS
from editkit.components.specs import ScorerSpec
from editkit.editing.gradient_scores import SIDES
from editkit.testing.contract import DEFAULTS, Given, build, called, chosen, hold, require, unchanged
from editkit.testing.scorer_case import (
    Case,
    Pairs,
    batch_gradient,
    batch_loss,
    drawn_pairs,
    drawn_weight,
    side_losses,
)


def check_scorer(scorer: str | ScorerSpec, options: Given = DEFAULTS, *, host: Host | None = None) -> None:
    """Hold a scorer to its contract on a few tuples at a small site; no model is loaded.

    Args:
        scorer: the name it is registered under, or its spec.
        options: the scorer's options by name.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        PluginError: no such scorer.
        RecipeError: an option it does not take.
    """
    choice = chosen(ScorerSpec, scorer, options, host or default_host())
    case = Case(choice)
    hold(called(choice), CLAUSES[case.spec.needs], case)


def a_loss_is_one_finite_number(case: Case) -> None:
    """The loss of a batch is a finite scalar that depends on embeddings of the tower that is scored."""
    pairs, scorer = drawn_pairs(), build(case.choice)
    own = pairs.embed(pairs.x @ drawn_weight().T).requires_grad_()
    loss = batch_loss(scorer, own, pairs)
    require(isinstance(loss, Tensor) and loss.dim() == 0, f"it is {_described(loss)}")
    require(bool(loss.isfinite()), f"it is {loss.item()}")
    found = torch.autograd.grad(loss, own, allow_unused=True)[0] if loss.requires_grad else None
    require(found is not None and bool(found.any()), "it has no gradient by them")


def loss_batch_says_over_how_many_tuples_a_loss_is(case: Case) -> None:
    """`loss_batch` is a number of tuples for either tower, or None: then a loss is the mean of single tuples'."""
    pairs, scorer = drawn_pairs(), build(case.choice)
    for tower in TOWERS:
        number = scorer.loss_batch(tower)
        require(number is None or (type(number) is int and number >= 1), f"for {tower} it is {number!r}")
        if number is None:
            ones = [batch_gradient(scorer, drawn_weight(), pairs[row : row + 1]) for row in range(len(pairs))]
            _require_close(batch_gradient(scorer, drawn_weight(), pairs), torch.stack(ones).mean(dim=0), "gradients")


def every_sample_has_a_loss_of_its_own(case: Case) -> None:
    """`sides` are of "safe" and "unsafe"; a side's losses are [B], finite, and each depends on its sample alone."""
    pairs, scorer = drawn_pairs(), build(case.choice)
    require(bool(scorer.sides) and set(scorer.sides) <= set(SIDES), f"sides are {scorer.sides!r}")
    for side in map(SIDES.index, scorer.sides):
        own = pairs.embed(pairs.x @ drawn_weight().T)[side].requires_grad_()
        losses = side_losses(scorer, own, pairs, side)
        require(isinstance(losses, Tensor) and losses.shape == (len(pairs),), f"they are {_described(losses)}")
        require(bool(losses.isfinite().all()), f"{int((~losses.isfinite()).sum())} are not finite")
        (found,) = torch.autograd.grad(losses[0], own)
        require(bool(found[0].any()), "the first has no gradient by its sample")
        require(not bool(found[1:].any()), "the first depends on other samples")


def scores_are_finite_numbers_of_the_weights_shape(case: Case) -> None:
    """Scores are float32 [O, I], finite, in either tower."""
    for tower in TOWERS:
        case.of(tower).scores(drawn_weight(), drawn_pairs())


def dead_units_have_scores_too(case: Case) -> None:
    """So they are where an input is zero or constant, on one side or both, and where an output has zero weights."""
    weight, pairs = drawn_weight(), drawn_pairs()
    weight[0] = 0
    pairs.x[..., 0], pairs.x[..., 1], pairs.x[0, ..., 2], pairs.x[1, ..., 3] = 0, 1, 0, 1
    case.scores(weight, pairs)


def weights_and_inputs_stay_as_they_are(case: Case) -> None:
    """Neither the weight nor inputs, masks and embeddings are changed."""
    weight, pairs = drawn_weight(), drawn_pairs()
    with unchanged({"the weight": weight, "x": pairs.x, "the mask": pairs.mask, "an embedding": pairs.other}):
        case.scores(weight, pairs)


def the_same_samples_give_the_same_scores(case: Case) -> None:
    """Scores are the same bit by bit each time."""
    first, second = (case.scores(drawn_weight(), drawn_pairs()) for _ in range(2))
    require(torch.equal(first, second), f"{int((first != second).sum())} of {first.numel()} scores differ")


def a_state_holds_tensors(case: Case) -> None:
    """Every entry of the state is a tensor."""
    for name, held in case.state(build(case.choice), drawn_weight(), [drawn_pairs()]).items():
        require(isinstance(held, Tensor), f"'{name}' is a {type(held).__name__}")


def batches_do_not_matter(case: Case) -> None:
    """Tuples in batches of other sizes, in another order, give the same scores."""
    pairs, weight = drawn_pairs(), drawn_weight()
    if case.spec.needs == "gradients" and build(case.choice).loss_batch(case.tower) is not None:
        return  # what it sums are losses of whole batches
    _require_close(case.scores(weight, pairs[4:6], pairs[0:1], pairs[1:4]), case.scores(weight, pairs), "scores")


def states_of_two_processes_add(case: Case) -> None:
    """The states of two processes, added entry by entry, give the scores of one that had the tuples of both."""
    parts, weight = (drawn_pairs()[0:2], drawn_pairs()[2:6]), drawn_weight()
    one, two = (case.state(build(case.choice), weight, [pairs]) for pairs in parts)
    for name, held in two.items():
        one[name] = one[name] + held if name in one else held
    _require_close(case.finish(build(case.choice), weight, one), case.scores(weight, *parts), "scores")


def padding_does_not_matter(case: Case) -> None:
    """Tokens that do not count may be any number, and may hold anything."""
    pairs, weight = drawn_pairs(), drawn_weight()
    padded = Pairs(pad(pairs.x, (0, 0, 0, 3)), pad(pairs.mask, (0, 3)), pairs.other)
    padded.x[~padded.mask] = 1e3
    _require_close(case.scores(weight, padded), case.scores(weight, pairs), "scores")


def one_token_a_sample_is_scored_or_refused(case: Case) -> None:
    """A site with one token for each sample has finite scores too, unless the spec says `spread`."""
    if not case.spec.spread:  # the engine refuses such sites
        replace(case, pooled=True).scores(drawn_weight(), drawn_pairs(tokens=1))


def inputs_in_half_precision_are_scored(case: Case) -> None:
    """Inputs come in the model's dtype: of float16 and bfloat16 too scores are float32, finite."""
    pairs = drawn_pairs()
    for dtype in (torch.float16, torch.bfloat16):
        case.scores(drawn_weight(), replace(pairs, x=pairs.x.to(dtype)))


def notes_are_counts(case: Case) -> None:
    """Where the spec says `notes`, `notes(state, weight)` gives counts by name after `finish`, from the same sums."""
    if not case.spec.notes:
        return
    scorer, weight = build(case.choice), drawn_weight()
    state = case.state(scorer, weight, [drawn_pairs()])
    case.finish(scorer, weight, state)
    for name, count in dict(scorer.notes(state, weight)).items():
        require(isinstance(name, str) and type(count) is int and count >= 0, f"{name!r} is {count!r}")


def _described(found: object) -> str:
    return f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"


def _require_close(found: Tensor, expected: Tensor, what: str) -> None:
    """Require float32 sums in another order to be the same but for rounding, a thousandth at most."""
    smallest = 1e-5 * float(expected.abs().max())
    off = int((~torch.isclose(found, expected, rtol=1e-3, atol=smallest)).sum())
    require(not off, f"{off} of {expected.numel()} {what} differ")


_ALONE = (
    scores_are_finite_numbers_of_the_weights_shape,
    dead_units_have_scores_too,
    weights_and_inputs_stay_as_they_are,
    the_same_samples_give_the_same_scores,
    a_state_holds_tensors,
)
_SUMMED = (*_ALONE, batches_do_not_matter, states_of_two_processes_add)

CLAUSES: Mapping[str, tuple[Callable[[Case], None], ...]] = {
    "weights": (*_ALONE, notes_are_counts),
    "inputs": (
        *_SUMMED,
        padding_does_not_matter,
        one_token_a_sample_is_scored_or_refused,
        inputs_in_half_precision_are_scored,
        notes_are_counts,
    ),
    "gradients": (
        a_loss_is_one_finite_number,
        loss_batch_says_over_how_many_tuples_a_loss_is,
        *_SUMMED,
        notes_are_counts,
    ),
    "sample-gradients": (every_sample_has_a_loss_of_its_own, *_SUMMED, notes_are_counts),
}
"""By what the spec says that a scorer needs."""
