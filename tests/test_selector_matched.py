"""The selector `matched`: as many weights per site as another choice has, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import naive
import pytest
import torch
from score_samples import SITES, same, scores_of
from torch import Tensor

from editkit.components.load import default_host
from editkit.components.protocols import SelectionContext
from editkit.components.site import Site
from editkit.components.specs import SelectorSpec
from editkit.errors import PatchError, RecipeError
from editkit.methods.selectors.options import MatchedOptions
from editkit.recipes.asked import asked_selectors
from editkit.testing import select


def matched(others: dict[Site, Tensor] | None = None, **options: Any) -> dict[Site, Tensor]:
    """Select by `scores_of(0)`, with the other scorer's scores and the other selector that the spec asks for."""
    choice = default_host().choose(SelectorSpec, "matched", options, "selector")
    selectors = {label: other.build() for label, other in asked_selectors(choice, default_host()).items()}
    context = SelectionContext(other_scores={"matched": others or {}}, other_selectors=selectors)
    return dict(choice.build().select(scores_of(0), context))


def patch_folder(folder: Path, record: Any) -> str:
    folder.mkdir()
    (folder / "record.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return str(folder)


def test_matched_selects_the_given_counts() -> None:
    masks = matched(counts={SITES[0].name: 3, SITES[1].name: 20})
    for site, count in zip(SITES, (3, 20), strict=True):
        assert same(masks[site], naive.highest(scores_of(0)[site], count))


def test_matched_copies_the_counts_of_a_patch(tmp_path: Path) -> None:
    sites = [{"site": SITES[0].name, "count": 7}, {"site": SITES[1].name, "count": 2}]
    masks = matched(patch=patch_folder(tmp_path / "patch", {"sites": sites}))
    assert [int(masks[site].sum()) for site in SITES] == [7, 2]


def test_matched_copies_the_counts_of_another_selector_on_another_scorers_scores() -> None:
    masks = matched(scores_of(1), selector="adaptive", tau=0.4)
    for site in SITES:
        count = int(select("adaptive", scores_of(1)[site], tau=0.4).sum())
        assert 0 < count < 20
        assert same(masks[site], naive.highest(scores_of(0)[site], count))


def test_matched_passes_a_fraction_on() -> None:
    masks = matched(scores_of(1), selector="topk", scorer="magnitude", fraction=0.25)
    assert [int(masks[site].sum()) for site in SITES] == [5, 5]


def test_matched_asks_the_engine_for_the_other_scorer_only_where_it_needs_it() -> None:
    spec = default_host().resolve(SelectorSpec, "matched")
    assert spec.other_scorers(MatchedOptions(selector="adaptive", scorer="unsafe")) == {"matched": {"name": "unsafe"}}
    assert spec.other_scorers(MatchedOptions(counts={"text:attn.out[0]": 1})) == {}


def test_matched_asks_the_engine_for_the_other_selector_with_the_options_that_were_given() -> None:
    spec = default_host().resolve(SelectorSpec, "matched")
    asked = spec.other_selectors(MatchedOptions(selector="adaptive", tau=0.1))
    assert asked == {"matched": {"name": "adaptive", "tau": 0.1}}
    assert spec.other_selectors(MatchedOptions(patch="folder")) == {}


def test_matched_leaves_out_a_site_that_the_other_selector_left_out() -> None:
    low, high = scores_of(1)[SITES[0]], scores_of(1)[SITES[1]] + 1
    masks = matched({SITES[0]: low, SITES[1]: high}, selector="global", fraction=0.25)
    assert [int(masks[site].sum()) for site in SITES] == [0, 10]


def test_matched_leaves_out_a_site_whose_count_is_zero_even_where_nothing_tells_its_weights_apart() -> None:
    spec = default_host().resolve(SelectorSpec, "matched")
    made = spec.load()(spec.options(counts={SITES[0].name: 0, SITES[1].name: 3}))
    scores = {SITES[0]: torch.zeros(4, 5), SITES[1]: torch.rand(4, 5)}
    masks = made.select(scores, SelectionContext())
    assert [int(masks[site].sum()) for site in SITES] == [0, 3]


def test_matched_refuses_a_selector_that_needs_a_second_scorer_itself() -> None:
    with pytest.raises(RecipeError, match="Selector 'difference-set' asks for other scores itself") as caught:
        matched(selector="difference-set")
    assert "'matched'" in caught.value.problem and "patch" in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selector": "topk", "tau": 0.1}, "topk has no tau; set selector.fraction instead"),
        ({"selector": "adaptive", "fraction": 0.1}, "fraction is not an option here"),
        ({"selector": "threshold"}, r"selector\.threshold\.above has to be given"),
    ],
)
def test_matched_says_what_the_other_selector_does_not_take(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        matched(**options)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("count", [-1, 21])
def test_matched_refuses_a_count_that_the_site_cannot_give(count: int) -> None:
    with pytest.raises(RecipeError, match=rf"has {count} weights at text:attn.out\[1\], which has 20"):
        matched(counts={SITES[0].name: 1, SITES[1].name: count})


def test_matched_refuses_a_site_that_the_other_choice_has_not() -> None:
    with pytest.raises(RecipeError, match=r"has no weights at text:attn.out\[1\]"):
        matched(counts={SITES[0].name: 1})


@pytest.mark.parametrize("record", [None, "{", {"no": "sites"}, {"sites": [{"site": "text:attn.out[0]"}]}])
def test_matched_refuses_a_patch_without_a_readable_record(tmp_path: Path, record: Any) -> None:
    folder = str(tmp_path / "none") if record is None else patch_folder(tmp_path / "patch", record)
    with pytest.raises(PatchError, match="no readable record") as caught:
        matched(patch=folder)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("options", [{}, {"selector": "topk", "patch": "x"}, {"counts": {}, "patch": "x"}])
def test_matched_needs_exactly_one_choice_to_match(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="exactly one of selector.patch, selector.selector and selector.counts"):
        matched(**options)
