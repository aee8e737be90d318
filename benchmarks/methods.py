"""Every method on one model in one table: what it does for safety, what it costs, and what chance and controls do.

    OMP_NUM_THREADS=2 python -m benchmarks.methods [--json FILE] [--markdown FILE]
    OMP_NUM_THREADS=2 python -m benchmarks.methods --limit 100 --sizes 0.05              a quick try

Methods are calibrated on the data set's calibration split and measured on --split; `benchmarks.method_list` says what
they are. Scores and embeddings are kept in editkit's cache (EDITKIT_CACHE_DIR), 0.4 GB for the demo, so that
a second run, or one with another method in the list, takes what the first one left to do. Patches and embeddings of
`AT_ONCE` models are in memory at a time, and only hits are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.method_list import SIZES, TARGETS, Block, Method, all_blocks
from benchmarks.method_table import as_markdown, as_text, legend, tables
from editkit.cli.console import err, quiet_libraries
from editkit.cli.progress import stage
from editkit.components.choice import Choice
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.site import Tower
from editkit.data.classes import ClassSet
from editkit.data.tuples import TupleSet
from editkit.editing import estimate
from editkit.editing.engine import make_patch
from editkit.editing.plan import Plan, make_plan, needs
from editkit.editing.run import Run
from editkit.editing.score import score
from editkit.errors import EditkitError
from editkit.evals.controls import control_variants
from editkit.evals.encoder import Encoder
from editkit.evals.items import class_set
from editkit.evals.options import RetrievalOptions
from editkit.evals.prepared import Prepared
from editkit.evals.report import build_report
from editkit.evals.retrieval import Retrieval
from editkit.evals.run_classes import measure_classes
from editkit.evals.run_tuples import embed_tuples, measure_tuples
from editkit.evals.safeground import SafeGround
from editkit.evals.specs import EVALUATIONS
from editkit.evals.subjects import warn_of_overlap
from editkit.evals.zeroshot import ZeroShot
from editkit.files.bits import to_tensor
from editkit.files.checkpoint import Checkpoint
from editkit.models.compute import resolve_device
from editkit.models.identity import identify_model
from editkit.models.variants import Variant
from editkit.patch.change import Change
from editkit.patch.patch import Patch
from editkit.recipes.layers import Layer, data_layer, flatten, given
from editkit.recipes.recipe import resolve
from editkit.reports.schema import Report

AT_ONCE = 64
SPECS = {spec.name: spec for spec in EVALUATIONS}
SAFETY = Prepared(SPECS["safeground"], SafeGround())
RECALL = Prepared(SPECS["retrieval"], Retrieval(RetrievalOptions(ks=(1,))))
ACCURACY = Prepared(SPECS["zeroshot"], ZeroShot())
CLASSES = {"top1 safe": "demo-objects", "top1 unsafe": "demo-unsafe-objects"}
BASE = Variant("base", {})


@dataclass(frozen=True)
class Bench:
    """What every method shares."""

    host: Host
    layer: Layer
    plan: Plan
    data: TupleSet
    classes: Mapping[str, ClassSet]
    encoder: Encoder

    @classmethod
    def open(cls, model: str | None, data: str | None, split: str, limit: int | None) -> Bench:
        """Load the data; the model is loaded when something looks at it."""
        host = default_host()
        layer = given({"model": model, **data_layer(data), "targets": TARGETS, "calibration.limit": limit})
        plan = make_plan([("benchmark", layer)], host)
        compute = plan.recipe.compute
        device = resolve_device(compute.device)
        weights = plan.files.checkpoint.identity()
        identity = identify_model(plan.adapter, plan.files, weights, compute, device, host)
        return cls(
            host,
            layer,
            plan,
            plan.recipe.data.build().load(split).whole().select(limit=limit),
            {metric: class_set(name, host, limit) for metric, name in CLASSES.items()},
            Encoder(plan.adapter, plan.files, identity, compute, device, stage),
        )

    def layers(self, method: Method) -> list[tuple[str, Layer]]:
        """Return the recipe of a method."""
        return [("benchmark", self.layer), (method.name, flatten(method.recipe))]

    def patch(self, method: Method) -> Patch:
        """Make one method's patch, in memory."""
        return make_patch(make_plan(self.layers(method), self.host), stage)

    def controls(self, patch: Patch, name: str) -> list[Variant]:
        """Return the controls of one patch."""
        return control_variants(patch, name, self.plan.adapter, self.plan.files, self.host)

    @property
    def calibration(self) -> str:
        """What the methods are calibrated on, in words."""
        drawn = self._drawn
        return f"{len(drawn.items):,} tuples of {drawn.name}/{drawn.split}"

    @property
    def _drawn(self) -> TupleSet:
        assert self.plan.data is not None  # the plan is that of a scorer which looks at data
        return self.plan.data

    def measure(self, variants: Sequence[Variant]) -> Report:
        """Measure the base and a few variants in one pass over the data."""
        everyone = [BASE, *variants]
        digests: dict[str, str] = {}
        tuples = embed_tuples(self.data, everyone, self.encoder, digests)
        own, recall = measure_tuples(tuples, [SAFETY, RECALL], everyone)
        accuracies = [
            measure_classes(ACCURACY, images, everyone, self.encoder, tuples.seen, skip_unreadable=False).showing(
                {"top1": metric}
            )
            for metric, images in self.classes.items()
        ]
        report = build_report("safeground", everyone, own, [recall, *accuracies])
        calibrated = {"the methods of this table": self._drawn.digests({})}
        report["warnings"] += warn_of_overlap(self.data, digests, calibrated)
        return report


@dataclass(frozen=True)
class Scoring(Plan):
    """A plan that wants the scores of many methods: one pass serves all scorers that need the same."""

    wanted: Mapping[str, Choice] = field(default_factory=dict)

    def scorers(self, tower: Tower) -> dict[str, Choice]:
        """Return every scorer."""
        return dict(self.wanted)


def score_together(bench: Bench, blocks: Sequence[Block]) -> None:
    """Fill the cache with the scores of every method, unless they are too many for the memory."""
    wanted: dict[str, Choice] = {}
    for method in (method for block in blocks for method in block.methods):
        plan = replace(bench.plan, recipe=resolve(bench.layers(method), bench.host))
        choices = [choice for tower in plan.towers for choice in plan.scorers(tower).values()]
        wanted |= {json.dumps(choice.describe()): choice for choice in choices if needs(choice) != "weights"}
    together = Scoring(**vars(bench.plan), wanted=wanted)
    compute = together.recipe.compute
    if not compute.cache or estimate.memory(together)["scores"] > compute.memory:
        return
    run = Run(together, stage, bench.encoder.identity.weights, resolve_device(compute.device))
    err.print(f"scoring with {len(wanted)} scorers", style="dim")
    with suppress(EditkitError):  # the method that it belongs to will say so
        for tower in together.towers:
            score(run, tower)


@dataclass(frozen=True)
class Entry:
    """An edited model, to be measured, with what belongs beside its numbers."""

    block: str
    name: str
    control_of: str | None
    """None: no control. "": of every row of its block. Else the row's name."""
    variant: Variant
    count: int
    weights: int
    norm: float
    recipe: Mapping[str, Any] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the JSON says of it beside its numbers."""
        return {
            "block": self.block,
            "name": self.name,
            "control_of": self.control_of,
            "count": self.count,
            "weights": self.weights,
            "relative_norm": self.norm,
            "recipe": self.recipe,
        }


def entries(bench: Bench, blocks: Sequence[Block], failures: list[str]) -> Iterator[Entry]:
    """Make every method's patch and controls, one after the other; what cannot be made is a failure, not the end."""
    total, done, start = sum(len(block.methods) for block in blocks), 0, time.perf_counter()
    for block in blocks:
        for method in block.methods:
            done += 1
            seconds = f"{time.perf_counter() - start:.0f} s"
            err.print(f"{done}/{total}, {seconds}: {block.title}: {method.name}", style="dim", soft_wrap=True)
            try:
                yield from _entries_of(bench, block, method)
            except EditkitError as error:
                failures.append(f"{block.title}: {method.name} could not be made. {error}")


def _entries_of(bench: Bench, block: Block, method: Method) -> Iterator[Entry]:
    checkpoint = bench.plan.files.checkpoint
    patch, name = bench.patch(method), f"{block.title}: {method.name}"
    sites = patch.record["sites"]
    entry = Entry(
        block.title,
        method.name,
        "" if method.is_control else None,
        Variant(name, patch.changes, is_control=method.is_control),
        sum(site["count"] for site in sites),
        sum(math.prod(site["shape"]) for site in sites),
        relative_norm(patch.changes.values(), checkpoint),
        patch.record["recipe"],
    )
    yield entry
    for control in [] if block.is_matched else bench.controls(patch, method.name):
        variant = replace(control, name=f"{name}: {control.name}")
        norm = relative_norm(control.changes.values(), checkpoint)
        yield replace(entry, name=control.name, control_of=method.name, variant=variant, norm=norm, recipe=None)


def relative_norm(changes: Iterable[Change], checkpoint: Checkpoint) -> float:
    """Return the norm of the change over that of the changed tensors."""
    moved = whole = 0.0
    for change in changes:
        before = checkpoint.read(change.key)
        weight, after = (
            to_tensor(bits.reshape(-1), change.dtype, change.key).double() for bits in (before, change.made(before))
        )
        moved, whole = moved + float((after - weight).square().sum()), whole + float(weight.square().sum())
    return math.sqrt(moved / whole)


def measure_all(bench: Bench, made: Iterator[Entry]) -> list[dict[str, Any]]:
    """Measure entries a group at a time, and return a row for each."""
    rows = []
    while group := list(islice(made, AT_ONCE)):
        report = bench.measure([entry.variant for entry in group])
        numbers = {row["name"]: row for row in (*report["models"], *report["controls"])}
        for entry in group:
            row = numbers[entry.variant.name]
            rows.append({**entry.facts, "metrics": row["metrics"], "difference": row["difference"]})
    return rows


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder, hub id or open_clip:NAME/TAG; the demo by default")
    parser.add_argument("--data", help="tuples, NAME or NAME:PATH; the demo's by default")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--limit", type=int, help="calibrate and measure on this many tuples, for a quick try")
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES, help="shares of each site's weights")
    parser.add_argument("--manipulator", choices=("negate", "zero"), default="negate", help="of chosen weights")
    parser.add_argument("--json", type=Path, help="write every number, with intervals, n and p")
    parser.add_argument("--markdown", type=Path, help="write the tables as Markdown")
    asked = parser.parse_args()
    quiet_libraries()
    start = time.perf_counter()
    failures: list[str] = []
    try:
        bench = Bench.open(asked.model, asked.data, asked.split, asked.limit)
        blocks = list(all_blocks(asked.sizes, asked.manipulator))
        base = bench.measure([])  # first: what is wrong with the data should not show after minutes of scoring
        score_together(bench, blocks)
        rows = measure_all(bench, entries(bench, blocks, failures))
    except EditkitError as error:
        sys.exit(str(error))
    seconds = time.perf_counter() - start
    explained = "\n".join([legend(base, bench.calibration, list(CLASSES)), *base["warnings"], *failures])
    found = list(tables(base, rows))
    print("\n\n".join([*(as_text(*table) for table in found), explained]))
    err.print(f"{len(rows) + 1} models in {seconds:.0f} s", style="dim")
    if asked.markdown:
        parts = [*(as_markdown(*table) for table in found), f"```text\n{explained}\n```"]
        asked.markdown.write_text("\n\n".join(parts) + "\n")
    if asked.json:
        everything = {
            "schema": "editkit.methods/1",
            "model": bench.plan.recipe.model,
            "data": base["data"],
            "calibration": bench.calibration,
            "manipulator": asked.manipulator,
            "chance": base["chance"],
            "base": base["models"][0]["metrics"],
            "rows": rows,
            "warnings": base["warnings"],
            "failures": failures,
            "seconds": seconds,
        }
        asked.json.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
