"""What `benchmarks.methods` compares, as data: recipes in blocks, and which rows are controls.

To add a method, add a line: a recipe is what a YAML recipe holds, less model, data and calibration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editkit.recipes.layers import read_recipe

Parts = Mapping[str, Any]

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2)
TARGETS = ["text:attn.out", "vision:mlp.out"]
PLACES = {"text": ["text:proj"], "vision": ["vision:proj"], "both": ["text:proj", "vision:proj"]}

SCORERS: Mapping[str, Parts] = {
    "uwm": {"name": "uwm"},
    "uwm, means": {"name": "uwm", "aggregation": "means"},
    "difference": {"name": "difference"},
    "unsafe": {"name": "unsafe"},
    "g-unsafe, cross-modal": {"name": "gradient", "loss": "g-unsafe", "target": "cross-modal"},
    "g-unsafe, same-modal": {"name": "gradient", "loss": "g-unsafe", "target": "same-modal"},
    "g-safe-clip": {"name": "gradient", "loss": "g-safe-clip"},
    "wanda": {"name": "wanda"},
    "wanda-ratio": {"name": "wanda-ratio"},
    "multiflow": {"name": "multiflow"},
    "neuron-ratio, mean": {"name": "neuron-ratio", "importance": "mean"},
    "neuron-ratio, rms": {"name": "neuron-ratio", "importance": "rms"},
    "neuron-ratio, std": {"name": "neuron-ratio", "importance": "std"},
    "snip": {"name": "snip"},
    "fisher-ratio": {"name": "fisher-ratio"},
    "salun": {"name": "salun"},
}
CONTROLS: Mapping[str, Parts] = {
    "magnitude": {"name": "magnitude"},
    **{f"random {seed}": {"name": "random", "seed": seed} for seed in range(3)},
}


@dataclass(frozen=True)
class Method:
    """One row of the table: a recipe with a name, unique in its block."""

    name: str
    recipe: Parts
    is_control: bool = False


@dataclass(frozen=True)
class Block:
    """Rows that can be compared with one another.

    `is_matched`: every row changes as many weights at every site, controls among them. Elsewhere each row gets
    controls of its own.
    """

    title: str
    methods: tuple[Method, ...]
    is_matched: bool = False


def all_blocks(sizes: Sequence[float] = SIZES, manipulator: str = "negate") -> Iterator[Block]:
    """Return every block.

    Args:
        sizes: shares of each site's weights that are changed, one matched block for each.
        manipulator: what is done to chosen weights, `negate` or `zero`.
    """
    for size in sizes:
        title = f"{100 * size:g} % of the weights of every site: {manipulator}"
        yield Block(title, _matched(size, manipulator), is_matched=True)
    yield Block(f"Other ways to choose weights, or to change them: {manipulator} unless said", _others(manipulator))
    yield Block("Whole sites rewritten", _whole())
    yield Block("Final projections of both towers rewritten: rivals", _rivals())
    for direction in ("opposed", "least-energy", "minus-mean"):
        refuse = {"name": "refuse", "direction": direction}
        # as docs/results.md has them
        told = {name: {**_at(places, refuse), "preserve": "none"} for name, places in PLACES.items()}
        rows = (Method(f"refuse, {name}:proj", recipe) for name, recipe in told.items())
        yield Block(f"Final projections rewritten: refuse, direction {direction}", tuple(rows))


def _matched(size: float, manipulator: str) -> tuple[Method, ...]:
    common = {"targets": TARGETS, "selector": {"name": "topk", "fraction": size}, "manipulator": manipulator}
    return tuple(
        Method(name, {**common, "scorer": scorer}, is_control=name in CONTROLS)
        for name, scorer in {**SCORERS, **CONTROLS}.items()
    )


def _others(manipulator: str) -> tuple[Method, ...]:
    adaptive = {"name": "adaptive", "tau": 0.2}
    units = {"name": "units", "axis": "inputs", "fraction": 0.05}
    above_one = {"name": "threshold", "above": 1}
    together = {"name": "global", "fraction": 0.05}
    return tuple(
        Method(name, {"targets": TARGETS, "scorer": scorer, "selector": selector, "manipulator": how})
        for name, scorer, selector, how in (
            ("uwm, adaptive tau 0.2", "uwm", adaptive, manipulator),
            ("uwm, global 0.05", "uwm", together, manipulator),
            ("uwm, units, mean-ablate", "uwm", units, "mean-ablate"),
            ("fisher > 1, dampen", "fisher-ratio", above_one, "dampen"),
            ("wanda less safe wanda", "wanda", _less("wanda"), manipulator),
            ("snip less safe snip", "snip", _less("snip"), manipulator),
        )
    )


def _less(scorer: str) -> Parts:
    """Choose what ranks high on unsafe samples and not on safe ones."""
    return {"name": "difference-set", "other": scorer, "other_options": {"side": "safe"}}


def _whole() -> tuple[Method, ...]:
    redirect = {"name": "redirect"}
    return (
        Method("project, sites", _at(TARGETS, {"name": "project", "beta": 1})),
        *(Method(f"redirect, {name}:proj", _at(places, redirect)) for name, places in PLACES.items()),
        Method("redirect, sites", _at(TARGETS, redirect)),
        Method("redirect, sequential", _at(TARGETS, {**redirect, "order": "sequential"})),
        Method("redirect, null-space", _at(TARGETS, {**redirect, "null_space": 0.01})),
    )


def _rivals() -> tuple[Method, ...]:
    recipes = ("redirect-uce", "redirect-speed")
    erasers = ("leace", "inlp", "null-space")
    nearest = {"name": "redirect", "target": "nearest-safe"}
    return (
        *(Method(name, _without_calibration(f"rivals/{name}")) for name in recipes),
        Method("redirect, nearest-safe", _at(PLACES["both"], nearest)),
        *(Method(name, _at(PLACES["both"], {"name": name})) for name in erasers),
    )


def _without_calibration(recipe: str) -> Parts:
    return {path: value for path, value in read_recipe(recipe).items() if not path.startswith("calibration.")}


def _at(targets: Sequence[str], manipulator: Parts) -> Parts:
    return {"targets": list(targets), "manipulator": manipulator}
