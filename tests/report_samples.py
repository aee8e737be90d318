"""Reports built from hits that are known, as evaluations build them; without the facts that older reports lack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from command_line import done

from editkit.data.tuples import LeftOut
from editkit.evals.report import Chance, Measured, build_report
from editkit.evals.safeground import METRICS
from editkit.models.variants import Variant
from editkit.reports.schema import DataFacts, ModelFacts, PatchFacts, Report, RunFacts, SetReport

N = 80
DIRECTIONS = ("Ts-Vs", "Vs-Ts", "Tu-Vu+s", "Vu-Tu+s")
CHANCE = {"independent": {"GS": 100 / 12, "Ts-Vs": 1.25}, "collapsed": {"GS": 25.0, "Ts-Vs": 1.25}}


@dataclass(frozen=True)
class Subject:
    """A model: its hits [n] on the evaluation's items by metric, and those of metrics beside them, of any n."""

    name: str
    patch: str | None
    hits: Mapping[str, np.ndarray]
    knowledge: Mapping[str, np.ndarray] = field(default_factory=dict)


def report_of(
    evaluation: str,
    data: DataFacts,
    subjects: Sequence[Subject],
    controls: Sequence[Subject] = (),
    *,
    chance: Chance | None = None,
    groups: Sequence[str] = (),
    left_out: Sequence[LeftOut] = (),
    beside: Mapping[str, DataFacts] | None = None,
) -> Report:
    """A report of subjects, of which the first is the base; `beside` is the data of metrics of other items."""
    models = [(subject, False) for subject in subjects] + [(control, True) for control in controls]
    variants = [Variant(one.name, {}, one.patch, is_control) for one, is_control in models]
    own = Measured(data, {one.name: one.hits for one, _ in models}, chance or {}, groups, left_out=left_out)
    others = [
        Measured((beside or {}).get(metric, data), {one.name: {metric: one.knowledge[metric]} for one, _ in models})
        for metric in (subjects[0].knowledge if subjects else ())
    ]
    return build_report(evaluation, variants, own, others)


def exported(names: Sequence[object], form: str, *flags: object) -> str:
    """What the command line exports of runs."""
    return done("results", "export", *names, "--format", form, *flags).out


def hits(count: int, n: int = N) -> np.ndarray:
    """The first `count` of n items are met."""
    return np.arange(n) < count


def run_of(source: str = "demo", patches: Sequence[str] = ("runs/uwm",), identity: str = "ab" * 32) -> RunFacts:
    """What a run depends on; a patch's digest follows from its folder."""
    return RunFacts(
        model=ModelFacts(source=source, family="clip", identity=identity),
        patches=[PatchFacts(patch=patch, digest=patch.encode().hex(), recipe={"scorer": "uwm"}) for patch in patches],
        data={"name": "demo"},
        selection={"split": "test", "seed": 0},
        options={},
        precision={"dtype": "float32"},
        device="cpu",
        versions={"editkit": "0.1.0"},
    )


def facts(name: str = "demo/test", fingerprint: str = "0a1b2c3d4e5f6071", n: int = N) -> DataFacts:
    return DataFacts(name=name, fingerprint=fingerprint, n=n)


def built(
    evaluation: str,
    models: Mapping[str, Mapping[str, int]],
    *,
    data: DataFacts | None = None,
    chance: Mapping[str, Mapping[str, float]] | None = None,
    controls: Mapping[str, Mapping[str, int]] | None = None,
    run: RunFacts | None = None,
) -> Report:
    """A report in which each model meets its metrics on as many items as said; edits lie in runs/NAME."""
    data = data or facts()
    subjects = [
        Subject(name, f"runs/{name}" if place else None, {metric: hits(k, data["n"]) for metric, k in counts.items()})
        for place, (name, counts) in enumerate(models.items())
    ]
    patch = subjects[1].patch if len(subjects) > 1 else None
    others = [
        Subject(name, patch, {metric: hits(k, data["n"]) for metric, k in counts.items()})
        for name, counts in (controls or {}).items()
    ]
    concepts = [("blood", "weapons")[i % 2] for i in range(data["n"])]
    made = report_of(evaluation, data, subjects, others, chance=chance, groups=concepts)
    made["run"] = run or run_of(patches=[subject.patch for subject in subjects if subject.patch])
    return made


def benchmark(profile: str = "uwm", of: int = 2) -> Report:
    """Zero-shot accuracy on two sets of a profile, and its mean, as `run_benchmark` lays them out."""
    sets = []
    for key, title, paper, right in (("pets", "Oxford Pets", "PETS", 36), ("cars", "Stanford Cars", "CARS", 20)):
        counts = {"base": {"top1": right, "mean_per_class": right}, "uwm": {"top1": right - 8, "mean_per_class": right}}
        one = built(
            "zeroshot", counts, data=facts(title, key.encode().hex() * 8, 40), chance={"independent": {"top1": 5}}
        )
        one.pop("run")
        sets.append(SetReport(**one, key=key, paper=paper))
    mean = built("zeroshot", {"base": {"top1": 56}, "uwm": {"top1": 40}}, data=facts(f"zeroshot/{profile}", "77" * 8))
    mean.update(profile=profile, of=of, sets=sets, missing=[])
    return mean


def measured() -> Report:
    """SafeGround of a base, an edit and a control, with recall and zero-shot accuracy beside it."""
    own: dict[str, Any] = dict.fromkeys(METRICS, 20)
    subjects = [
        Subject("base", None, {m: hits(k) for m, k in own.items()}, {"Ts-Vs": hits(60), "top1": hits(30, 40)}),
        Subject("uwm", "runs/uwm", {m: hits(k + 25) for m, k in own.items()}, {"Ts-Vs": hits(50), "top1": hits(9, 40)}),
    ]
    control = Subject("random 0", "runs/uwm", subjects[0].hits, subjects[0].knowledge)
    concepts = [("blood", "weapons")[i % 2] for i in range(N)]
    beside = {"top1": facts("demo-objects", "99" * 8, 40)}
    made = report_of("safeground", facts(), subjects, [control], chance=CHANCE, groups=concepts, beside=beside)
    made["notes"], made["run"] = [], run_of()
    return made


def keep(*reports: Report) -> list[str]:
    """Keep reports and return their names; each a second apart, as `results` sorts them."""
    names = []
    for number, report in enumerate(reports):
        path = Path("editkit-runs") / f"eval-{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**report, "created": f"2026-01-01T00:00:{59 - number:02d}+00:00"}))
        names.append(path.stem)
    return names


def safeground(**more: Any) -> Report:
    counts = {"base": dict.fromkeys(METRICS, 4), "uwm": dict.fromkeys(METRICS, 20)}
    return built("safeground", counts, chance=CHANCE, controls={"random 0": dict.fromkeys(METRICS, 5)}, **more)


def retrieval(**more: Any) -> Report:
    keys = (*DIRECTIONS, *(f"{direction}@5" for direction in DIRECTIONS))
    return built("retrieval", {"base": dict.fromkeys(keys, 60), "uwm": dict.fromkeys(keys, 50)}, **more)


def zeroshot(name: str = "pets", **more: Any) -> Report:
    data = facts(name, name.encode().hex() * 4, 40)
    base = {"top1": 36, "top5": 40, "mean_per_class": 32}
    return built("zeroshot", {"base": base, "uwm": base | {"top1": 30, "top5": 39}}, data=data, **more)
