"""The contract of a selector, clause by clause, and `check_selector`, which holds one to it on a few small sites.

The clauses are `CLAUSES`, in the order in which they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.protocols import SelectionContext, Selector
from editkit.components.site import Site
from editkit.components.specs import SelectorSpec
from editkit.errors import ScoreError
from editkit.recipes.asked import asked_scorers, asked_selectors
from editkit.testing.contract import DEFAULTS, BreachError, Given, build, called, chosen, hold, require, unchanged

Masks = Mapping[Site, Tensor]

SITES = (
    Site("text", 0, "attn.out", "attn.0", "attn.0.weight", (8, 8)),
    Site("text", 0, "mlp.out", "mlp.0", "mlp.0.weight", (8, 12)),
    Site("text", 1, "mlp.out", "mlp.1", "mlp.1.weight", (6, 12)),
)


def check_selector(selector: str | SelectorSpec, options: Given = DEFAULTS, *, host: Host | None = None) -> None:
    """Hold a selector to its contract on scores of three small sites, drawn from an exponential distribution of mean 1.

    Args:
        selector: the name it is registered under, or its spec.
        options: the selector's options by name, such that they select some of these scores.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
        PluginError: no such selector, or none of what it asks for.
        RecipeError: an option it does not take.
    """
    host = host or default_host()
    choice = chosen(SelectorSpec, selector, options, host)
    others = asked_selectors(choice, host)
    hold(called(choice), CLAUSES, Case(choice, tuple(asked_scorers([choice], host)), others))


@dataclass(frozen=True)
class Case:
    """A selector, and what it asks for: labels of scores, and other selectors."""

    choice: Choice
    labels: tuple[str, ...]
    others: Mapping[str, Choice]

    @property
    def spec(self) -> SelectorSpec:
        return cast(SelectorSpec, self.choice.spec)

    def context(self) -> SelectionContext:
        """Return what the selector asks for, and nothing else."""
        return SelectionContext(
            seed=0,
            other_scores={label: drawn_scores(seed) for seed, label in enumerate(self.labels, start=1)},
            other_selectors={label: build(other) for label, other in self.others.items()},
        )

    def select(self, scores: Mapping[Site, Tensor]) -> Masks:
        """Return the choice of a new selector."""
        selector: Selector = build(self.choice)
        with torch.no_grad():
            return selector.select(scores, self.context())


def drawn_scores(seed: int = 0) -> dict[Site, Tensor]:
    """Return scores [O, I] of every site."""
    draw = torch.Generator().manual_seed(seed)
    return {site: torch.empty(site.shape).exponential_(generator=draw) for site in SITES}


def useless_scores() -> Iterator[tuple[str, dict[Site, Tensor]]]:
    """Yield scores that tell nothing apart, and what they are."""
    yield "all zero", {site: torch.zeros(()).expand(site.shape) for site in SITES}  # as the engine makes them
    for name in ("nan", "inf"):
        yield f"all {name}", {site: torch.full(site.shape, float(name)) for site in SITES}
        spoilt = drawn_scores()
        spoilt[SITES[0]][0, 0] = float(name)
        yield f"partly {name}", spoilt


def every_site_has_a_mask_of_its_shape(case: Case) -> None:
    """There is a bool mask [O, I] for each of the sites, and none for others."""
    _require_masks(case.select(drawn_scores()))


def scores_stay_as_they_are(case: Case) -> None:
    """Neither the scores nor those of other scorers are changed."""
    scores, context = drawn_scores(), case.context()
    held = {"scores": scores} | {f"{label} scores": other for label, other in context.other_scores.items()}
    with unchanged({f"{what} of {site.name}": of[site] for what, of in held.items() for site in of}):
        build(case.choice).select(scores, context)


def the_same_scores_give_the_same_choice(case: Case) -> None:
    """The same scores and the same seed give the same masks."""
    _require_equal(case.select(drawn_scores()), case.select(drawn_scores()))


def the_order_of_sites_does_not_matter(case: Case) -> None:
    """Sites that come in another order have the same masks."""
    scores = drawn_scores()
    _require_equal(case.select({site: scores[site] for site in reversed(SITES)}), case.select(scores))


def units_are_whole(case: Case) -> None:
    """Where the spec says `units`, whole input columns or whole output rows are selected, as its `axis` says."""
    if not case.spec.units:
        return
    axis = case.choice.asks("axis")
    for site, mask in case.select(drawn_scores()).items():
        columns, rows = (torch.equal(mask.all(dim=d, keepdim=True), mask.any(dim=d, keepdim=True)) for d in (0, 1))
        whole = {"inputs": columns, "outputs": rows, "": columns and rows}[axis]
        require(whole, f"{site.name} has {axis or 'units'} that are selected in part")


def useless_scores_are_refused_or_answered(case: Case) -> None:
    """Scores that are all zero, or not finite, give a ScoreError or masks, and no other error."""
    for name, scores in useless_scores():
        try:
            masks = case.select(scores)
        except ScoreError:
            continue
        except Exception as error:
            raise BreachError(f"scores that are {name} raise {type(error).__name__}: {error}") from error
        _require_masks(masks)


def no_choice_is_empty_in_silence(case: Case) -> None:
    """Some weight of some site is selected, whatever the scores, or a ScoreError says why none is."""
    require(_any(case.select(drawn_scores())), "nothing is selected of ordinary scores")
    for name, scores in useless_scores():
        try:
            masks = case.select(scores)
        except ScoreError:
            continue
        require(_any(masks), f"nothing is selected of scores that are {name}")


def _any(masks: Masks) -> bool:
    return any(bool(mask.any()) for mask in masks.values())


def _require_masks(masks: Masks) -> None:
    found = sorted(site.name for site in masks)
    require(set(masks) == set(SITES), f"masks are of {found}, scores of {[site.name for site in SITES]}")
    for site, mask in masks.items():
        fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == site.shape
        told = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        require(fits, f"that of {site.name} is {told}, not bool {site.shape}")


def _require_equal(found: Masks, expected: Masks) -> None:
    for site in SITES:
        require(torch.equal(found[site], expected[site]), f"masks of {site.name} differ")


CLAUSES: tuple[Callable[[Case], None], ...] = (
    every_site_has_a_mask_of_its_shape,
    scores_stay_as_they_are,
    the_same_scores_give_the_same_choice,
    the_order_of_sites_does_not_matter,
    units_are_whole,
    useless_scores_are_refused_or_answered,
    no_choice_is_empty_in_silence,
)
