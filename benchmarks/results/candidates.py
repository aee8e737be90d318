"""What is compared, as data: families of methods, each with the settings that validation chooses among.

To add a method, add a line: a recipe is what a YAML recipe holds, less model, data and calibration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from editkit.recipes.layers import read_recipe

Parts = Mapping[str, Any]

SITES = ["text:attn.out", "vision:mlp.out"]
PROJECTIONS = ["text:proj", "vision:proj"]
FRACTIONS = (0.01, 0.05, 0.2)
TAUS = (0.02, 0.05, 0.1, 0.2)
RIVALS = ("redirect-uce", "redirect-speed")

SCORERS: Mapping[str, Parts] = {
    "difference": {"name": "difference"},
    "unsafe": {"name": "unsafe"},
    "g-unsafe": {"name": "gradient", "loss": "g-unsafe"},
    "g-safe-clip": {"name": "gradient", "loss": "g-safe-clip"},
    "wanda": {"name": "wanda"},
    "wanda-ratio": {"name": "wanda-ratio"},
    "multiflow": {"name": "multiflow"},
    "neuron-ratio": {"name": "neuron-ratio"},
    "snip": {"name": "snip"},
    "fisher-ratio": {"name": "fisher-ratio"},
    "salun": {"name": "salun"},
    "magnitude": {"name": "magnitude"},
    "random": {"name": "random"},
}
"""`uwm` has a selector of its own, the paper's. The last two know nothing of safety: they are controls."""


@dataclass(frozen=True)
class Candidate:
    """One setting of a family's; `name` is unique, and names a folder."""

    family: str
    name: str
    recipe: Parts


def candidates() -> Iterator[Candidate]:
    """Return every setting of every family."""
    for tau in TAUS:
        selector = {"name": "adaptive", "tau": tau}
        yield Candidate("uwm", f"uwm-{tau:g}", _chosen({"name": "uwm"}, selector))
    for (family, scorer), fraction in product(SCORERS.items(), FRACTIONS):
        selector = {"name": "topk", "fraction": fraction}
        yield Candidate(family, f"{family}-{fraction:g}", _chosen(scorer, selector))
    yield from _other_changes()
    yield from _fitted()
    yield from _refusals()


def _chosen(scorer: Parts, selector: Parts, manipulator: str = "negate") -> Parts:
    return {"targets": SITES, "scorer": scorer, "selector": selector, "manipulator": {"name": manipulator}}


def _other_changes() -> Iterator[Candidate]:
    """Chosen weights that are not negated."""
    for tau in TAUS[1:]:
        recipe = _chosen({"name": "uwm"}, {"name": "adaptive", "tau": tau}, "zero")
        yield Candidate("uwm, zeroed", f"uwm-zero-{tau:g}", recipe)
    units = {"name": "units", "axis": "inputs", "fraction": 0.05}
    yield Candidate("uwm, units mean-ablated", "uwm-units", _chosen({"name": "uwm"}, units, "mean-ablate"))
    above = {"name": "threshold", "above": 1}
    yield Candidate("fisher-ratio, dampened", "fisher-dampen", _chosen({"name": "fisher-ratio"}, above, "dampen"))


def _fitted() -> Iterator[Candidate]:
    """Whole projections, rewritten from the moments of pairs."""
    for beta in (0.5, 1):
        yield Candidate("project", f"project-{beta:g}", _at(SITES, {"name": "project", "beta": beta}))
    for target, kept in product(("twin", "nearest-safe"), (5, 20)):
        family = "redirect" if target == "twin" else "redirect, nearest safe"
        recipe = _at(PROJECTIONS, {"name": "redirect", "target": target, "preserve": kept}, preserve="words")
        yield Candidate(family, f"redirect-{target}-{kept}", recipe)
    for rival in RIVALS:
        parts = {path: value for path, value in read_recipe(f"rivals/{rival}").items() if not path.startswith("cal")}
        yield Candidate(rival, rival, parts)
    for of in ("outputs", "inputs"):
        yield Candidate("leace", f"leace-{of}", _at(PROJECTIONS, {"name": "leace", "of": of}))
    for rounds in (1, 4, 16):
        yield Candidate("inlp", f"inlp-{rounds}", _at(PROJECTIONS, {"name": "inlp", "rounds": rounds}))
    for share in (0.01, 0.1, 0.5):
        yield Candidate("null-space", f"null-space-{share:g}", _at(PROJECTIONS, {"name": "null-space", "share": share}))


def _refusals() -> Iterator[Candidate]:
    yield Candidate("refuse, default", "refuse", _at(PROJECTIONS, {"name": "refuse"}))
    for preserve, family in (("none", "refuse, nothing preserved"), ("words", "refuse")):
        for kept, own, push, ridge in product((20, 110), (0.5, 1), (0.9, 2, 4), (0.002, 0.008)):
            options = {"name": "refuse", "preserve": kept, "own": own, "keep": 0.5, "push": push, "ridge": ridge}
            name = f"refuse-{preserve}-{kept}-{own:g}-{push:g}-{ridge:g}"
            yield Candidate(family, name, _at(PROJECTIONS, options, preserve=preserve))


def _at(targets: Sequence[str], manipulator: Parts, **more: Any) -> Parts:
    return {"targets": list(targets), "manipulator": manipulator, **more}
