"""editkit's own selectors, by name. No torch here."""

from __future__ import annotations

from editkit.components.specs import SelectorSpec
from editkit.methods.references import UWM
from editkit.methods.selectors import options

SELECTORS = [
    SelectorSpec(
        name="adaptive",
        summary="the fewest weights that hold a share tau of the score mass",
        target="editkit.methods.selectors.adaptive:adaptive",
        options=options.AdaptiveOptions,
        reference=f"{UWM}, Eq. 11",
    ),
    SelectorSpec(
        name="adaptive-signed",
        summary="adaptive as released: the share is of the signed sum",
        target="editkit.methods.selectors.adaptive_signed:adaptive_signed",
        options=options.AdaptiveOptions,
    ),
    SelectorSpec(
        name="topk",
        summary="a fixed share of the weights, per site or per row",
        target="editkit.methods.selectors.topk:topk",
        options=options.TopkOptions,
    ),
    SelectorSpec(
        name="threshold",
        summary="every weight that scores more than a value",
        target="editkit.methods.selectors.threshold:Threshold",
        options=options.ThresholdOptions,
    ),
    SelectorSpec(
        name="global",
        summary="a fixed share of a tower's weights, under one threshold for all sites",
        target="editkit.methods.selectors.one_threshold:Global",
        options=options.GlobalOptions,
    ),
    SelectorSpec(
        name="units",
        summary="whole input columns or output rows by their pooled scores",
        target="editkit.methods.selectors.units:units",
        options=options.UnitsOptions,
        units=True,
        axis=options.UnitsOptions.unit,
    ),
    SelectorSpec(
        name="difference-set",
        summary="the top of one scorer less the top of another",
        target="editkit.methods.selectors.difference_set:DifferenceSet",
        options=options.DifferenceSetOptions,
        other_scorers=options.DifferenceSetOptions.other_scorers,
        reference="Assessing the Brittleness of Safety Alignment via Pruning and Low-Rank Modifications, ICML 2024",
    ),
    SelectorSpec(
        name="matched",
        summary="as many weights per site as another patch or selector chose",
        target="editkit.methods.selectors.matched:Matched",
        options=options.MatchedOptions,
        other_scorers=options.MatchedOptions.other_scorers,
        other_selectors=options.MatchedOptions.other_selectors,
    ),
    SelectorSpec(
        name="all",
        summary="every weight of every site",
        target="editkit.methods.selectors.all:All",
        ranks=False,
        units=True,
    ),
]
