"""`check_selector`: a selector that breaks a clause is told which, and one that keeps all of them is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from contract_samples import Broken, assert_told, clauses_of, ids, spec_of
from torch import Tensor

from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.components.specs import SelectorSpec
from editkit.errors import PluginError, ScoreError
from editkit.testing import check_selector
from editkit.testing.selector_contract import CLAUSES

Scores = Mapping[Site, Tensor]
UNITS = {"units": True, "axis": lambda options: "inputs"}


class Sound:
    """What scores more than the median of its site."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def select(self, scores: Scores, context: SelectionContext) -> Any:
        masks = {site: self.mask(values) for site, values in scores.items()}
        if not all(bool(mask.any()) for mask in masks.values()):
            raise ScoreError("A site's scores are all equal.", "Choose another scorer.")
        return masks

    def mask(self, scores: Tensor) -> Tensor:
        return scores > scores.median()


class FloatMasks(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        return {site: mask.float() for site, mask in super().select(scores, context).items()}


class OneMaskTooFew(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        masks = super().select(scores, context)
        masks.popitem()
        return masks


class AsksForMoreThanItSays(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        return {site: values > context.other_scores["safe"][site] for site, values in scores.items()}


class ChangesScores(Sound):
    def mask(self, scores: Tensor) -> Tensor:
        return scores.sub_(scores.median()) > 0


class ChangesOtherScores(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        return {site: values > context.other_scores["safe"][site].mul_(0.5) for site, values in scores.items()}


class Draws(Sound):
    def mask(self, scores: Tensor) -> Tensor:
        return torch.rand_like(scores) < 0.5


class TakesTheFirstSite(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        masks = super().select(scores, context)
        for mask in list(masks.values())[1:]:
            mask.zero_()
        return masks


class Chokes(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        for values in scores.values():
            1 / int(values.count_nonzero())
        return super().select(scores, context)


class SilentlyEmpty(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        return {site: self.mask(values) for site, values in scores.items()}


class NeverAnything(Sound):
    def select(self, scores: Scores, context: SelectionContext) -> Any:
        return {site: values < 0 for site, values in scores.items()}


class SoundColumns(Sound):
    def mask(self, scores: Tensor) -> Tensor:
        return super().mask(scores.sum(dim=0, keepdim=True)).expand_as(scores)


BROKEN = (
    Broken(FloatMasks, "every site has a mask of its shape", "is torch.float32 (8, 8), not bool (8, 8)"),
    Broken(OneMaskTooFew, "every site has a mask of its shape", "masks are of ['text:attn.out[0]', 'text:mlp.out[0]']"),
    Broken(AsksForMoreThanItSays, "every site has a mask of its shape", "KeyError: 'safe'"),
    Broken(ChangesScores, "scores stay as they are", "scores of text:attn.out[0] changed"),
    Broken(
        ChangesOtherScores,
        "scores stay as they are",
        "safe scores of text:attn.out[0] changed",
        {"other_scorers": lambda options: {"safe": {"name": "wanda"}}},
    ),
    Broken(Draws, "the same scores give the same choice", "masks of text:attn.out[0] differ"),
    Broken(TakesTheFirstSite, "the order of sites does not matter", "masks of text:attn.out[0] differ"),
    Broken(Sound, "units are whole", "text:attn.out[0] has inputs that are selected in part", UNITS),
    Broken(Chokes, "useless scores are refused or answered", "all zero raise ZeroDivisionError: division by zero"),
    Broken(SilentlyEmpty, "no choice is empty in silence", "nothing is selected of scores that are all zero"),
    Broken(NeverAnything, "no choice is empty in silence", "nothing is selected of ordinary scores"),
)


@pytest.mark.parametrize("broken", BROKEN, ids=ids)
def test_a_broken_clause_is_named_with_what_was_found(broken: Broken) -> None:
    assert_told(check_selector, SelectorSpec, broken)


def test_every_clause_is_broken_by_one_of_them() -> None:
    assert {broken.clause for broken in BROKEN} == clauses_of(CLAUSES)


@pytest.mark.parametrize(("component", "fields"), [(Sound, {}), (SoundColumns, UNITS)])
def test_a_selector_that_keeps_its_promises_is_left_alone(component: type, fields: Mapping[str, Any]) -> None:
    check_selector(spec_of(SelectorSpec, component, **fields))


def test_what_a_selector_asks_for_is_looked_up() -> None:
    asking = spec_of(SelectorSpec, Sound, other_selectors=lambda options: {"half": {"name": "tpok"}})
    with pytest.raises(PluginError, match="Unknown selector 'tpok'"):
        check_selector(asking)
    check_selector("matched", {"selector": "topk", "fraction": 0.1, "scorer": "wanda"})
