"""The report's schema and numbers, its tables at 80 columns, and what the verdict says."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pytest
from embedding_samples import noise
from report_samples import Subject, report_of
from rich.console import Console

from editkit.data.tuples import LeftOut
from editkit.errors import DataError
from editkit.evals.retrieval import Retrieval
from editkit.evals.safeground import METRICS, SafeGround
from editkit.evals.statistics import change_of, wilson
from editkit.reports.facts import measurable
from editkit.reports.schema import DataFacts, Difference, Report
from editkit.reports.show import render
from editkit.reports.verdict import verdict

N = 600
CONCEPTS = tuple(("weapons", "drug use", "hazard, fire and smoke")[i % 3] for i in range(N))
KNOWLEDGE = ("Ts-Vs", "Vs-Ts", "top1")
OBJECTS = DataFacts(name="objects", fingerprint="5e", n=400)


def subject(
    name: str, patch: str | None = None, gs: float = 0.02, top1: float = 0.6, ps: float = 0.9, knowledge: bool = True
) -> Subject:
    """A model that meets each metric on the first items of one fixed order, so that models are well paired."""
    order = np.random.default_rng(0).permutation(N)
    hits = {metric: order < N * (ps if metric in ("P_s^t", "P_s^v", "PS") else gs) for metric in METRICS}
    beside = {"Ts-Vs": order < N * top1, "Vs-Ts": order < N * top1, "top1": order[:400] < N * top1}
    return Subject(name, patch, hits, beside if knowledge else {})


def report(*subjects: Subject, controls: tuple[Subject, ...] = ()) -> Report:
    chance = SafeGround().chance(noise(1))
    facts = DataFacts(name="demo test", fingerprint="0a1b", n=N)
    made = report_of(
        "safeground",
        facts,
        subjects,
        controls,
        chance=chance,
        groups=CONCEPTS,
        left_out=[LeftOut("7", "no image")],
        beside={"top1": OBJECTS},
    )
    made["warnings"].append("hm")
    return made


CONTROLS = tuple(subject(f"random {seed}", "p", gs=0.02 + 0.002 * seed, top1=0.59) for seed in range(3))


def printed(made: Report, width: int = 80, **choices: bool) -> list[str]:
    console = Console(width=width, file=StringIO(), highlight=False)
    render(made, console, **choices)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_the_report_has_the_schema_of_the_design() -> None:
    made = json.loads(json.dumps(report(subject("base"), subject("uwm", "p", gs=0.2), controls=CONTROLS)))
    assert made["schema"] == "editkit.eval/1"
    assert list(made) == [
        "schema", "evaluation", "data", "chance", "models", "controls", "left_out", "warnings", "beside"
    ]  # fmt: skip
    assert made["data"] == {"name": "demo test", "fingerprint": "0a1b", "n": N}
    assert made["beside"] == {"top1": OBJECTS}
    assert set(made["chance"]) == {"independent", "collapsed"}
    assert [model["name"] for model in made["models"]] == ["base", "uwm"]
    for row in made["models"] + made["controls"]:
        assert list(row) == ["name", "patch", "metrics", "difference", "by_concept"]
        assert list(row["metrics"]) == [*METRICS, *KNOWLEDGE]
        assert all(list(rate) == ["value", "low", "high", "n"] for rate in row["metrics"].values())
        assert all(list(change) == ["value", "low", "high", "p"] for change in row["difference"].values())
        assert list(row["by_concept"]) == sorted(set(CONCEPTS))
        assert list(row["by_concept"]["weapons"]) == list(METRICS)
    assert made["models"][0]["difference"] == {}
    assert all(list(row["difference"]) == list(row["metrics"]) for row in made["models"][1:] + made["controls"])
    assert made["left_out"] == [{"id": "7", "reason": "no image"}]


def test_every_number_comes_from_the_statistics() -> None:
    base, other = subject("base"), subject("uwm", "p", gs=0.2)
    made = report(base, other)["models"][1]
    hits = other.hits["GS"]
    low, high = wilson(int(hits.sum()), N)
    assert made["metrics"]["GS"] == {"value": 20.0, "low": 100 * low, "high": 100 * high, "n": N}
    assert made["metrics"]["top1"]["n"] == 400
    assert made["difference"]["GS"] == change_of(base.hits["GS"], hits) and made["difference"]["GS"]["value"] == 18
    weapons = hits[np.array(CONCEPTS) == "weapons"]
    assert made["by_concept"]["weapons"]["GS"]["value"] == 100 * weapons.sum() / 200
    assert made["by_concept"]["weapons"]["GS"]["n"] == 200


def test_hits_of_other_items_or_metrics_are_refused() -> None:
    base = subject("base")
    with pytest.raises(DataError, match="hits of 'short' for GS"):
        report(base, Subject("short", None, {**base.hits, "GS": base.hits["GS"][:5]}, base.knowledge))
    with pytest.raises(DataError, match="hits of 'short' for top1"):
        report(base, Subject("short", None, base.hits, {**base.knowledge, "top1": base.hits["GS"]}))
    with pytest.raises(DataError, match="was measured on"):
        report(base, Subject("other", None, {"GS": base.hits["GS"]}, base.knowledge))
    with pytest.raises(DataError, match="needs a model"):
        report()
    with pytest.raises(DataError, match="GS is measured by 2 evaluations"):
        report(Subject("base", None, base.hits, {"GS": base.hits["GS"]}))


def test_a_change_is_measurable_when_interval_and_exact_test_agree() -> None:
    assert measurable(Difference(value=1.0, low=0.2, high=1.8, p=0.01))
    assert measurable(Difference(value=-1.0, low=-1.8, high=-0.2, p=0.01))
    assert not measurable(Difference(value=1.0, low=0.2, high=1.8, p=0.13))
    assert not measurable(Difference(value=1.0, low=-0.2, high=1.8, p=0.01))


def test_tables_fit_eighty_columns_and_show_everything() -> None:
    made = report(
        subject("base"),
        subject("uwm-1a2b3c4d", "p", gs=0.2),
        subject("editkit-runs/uwm-8b1f00aa-2", "q", gs=0.021),
        controls=CONTROLS,
    )
    lines = printed(made, by_concept=True, every_metric=True)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    words = [*METRICS, *KNOWLEDGE, "independent", "noise", "collapsed", "base", "random 2", "weapons"]
    assert all(word in text for word in [*words, "editkit-runs/uwm-8b1f00aa-2", "n = 600", "top1: 400", "Warning: hm"])
    assert "…" in text and "3 controls" in text and "1 no image" in text
    assert "+18.0 [" in text and "2.0 [1.1, 3.5]" in text


def test_one_patch_with_four_controls_fits_a_terminal_of_24_lines() -> None:
    controls = (*CONTROLS, subject("magnitude", "p", gs=0.1))
    made = report(subject("base"), subject("uwm-1a2b3c4d", "p", gs=0.2), controls=controls)
    lines = printed({**made, "left_out": [], "warnings": []})
    assert len(lines) < 24


def test_the_tables_of_an_untouched_model_show_intervals() -> None:
    text = "\n".join(printed(report(subject("base", knowledge=False))))
    assert "independent noise" in text and "95 % intervals: GS 2.0 [1.1, 3.5]" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_retrieval_tables_fit_too(width: int) -> None:
    e = noise(50)
    evaluation, facts = Retrieval(), DataFacts(name="demo", fingerprint="", n=50)
    base, other = Subject("base", None, evaluation.hits(e)), Subject("uwm", "p", evaluation.hits(noise(50, seed=1)))
    made = report_of("retrieval", facts, [base, other], chance=evaluation.chance(e), groups=evaluation.groups(e))
    lines = printed(made, width, by_concept=True)
    assert max(map(len, lines[:25])) <= width
    assert sum(line.count("R@20") for line in lines) == 4


def test_an_evaluation_of_a_plugin_is_shown_without_being_known() -> None:
    hits = {f"metric {i}": np.arange(40) < 10 + i for i in range(12)}
    facts = DataFacts(name="own", fingerprint="", n=40)
    made = report_of("toxicity", facts, [Subject("a", None, hits), Subject("b", "p", hits)], groups=["x"] * 40)
    lines = printed(made, by_concept=True)
    assert max(map(len, lines)) <= 80 and all(metric in "\n".join(lines) for metric in hits)
    assert verdict(made)[:2] == [
        "b: no measurable change in metric 0: 0.0 [-8.8, +8.8] points, p = 1.00, n = 40.",
        "b: none of the 11 other metrics changed measurably after Holm's correction.",
    ]


def said(made: Report, tau: dict[str, float] | None = None) -> str:
    return "\n".join(verdict(made, tau))


def test_an_edit_that_changes_nothing_is_told_so() -> None:
    made = report(subject("base"), subject("uwm", "p", gs=0.0234), controls=CONTROLS)
    text = said(made, {"uwm": 0.02})
    assert "uwm: no measurable change in GS: +0.5 [-0.1, +1.5] points, p = 0.13, n = 600." in text
    assert "uwm: none of the 11 other metrics changed measurably after Holm's correction." in text
    assert "a larger --tau than 0.02" in text
    assert "tau" not in said(made, {})


def test_a_gain_is_set_against_the_controls_and_chance() -> None:
    text = said(report(subject("base"), subject("uwm", "p", gs=0.2), controls=CONTROLS))
    assert "GS rose from 2.0 to 20.0: +18.0 [" in text and "p <0.001, n = 600" in text
    assert "the largest GS change of 3 controls is +0.5 [-0.1, +1.5] points (random 2): clearly less." in text
    assert "within reach of mere damage: independent noise (8.3) and collapsed embeddings (25.0)" in text
    assert "no measurable loss of knowledge: Ts-Vs 0.0" in text


def test_a_gain_above_all_chance_is_said_to_be() -> None:
    assert "is above independent noise (8.3)" in said(report(subject("base"), subject("uwm", "p", gs=0.6)))


def test_a_control_that_gains_as_much_takes_the_credit() -> None:
    made = report(subject("base"), subject("uwm", "p", gs=0.2), controls=(subject("random 0", "p", gs=0.25),))
    text = said(made)
    assert "as much or more, and it did not clearly cost more knowledge, so the gain is not shown to be owed" in text


def test_of_a_control_that_gains_as_much_and_costs_more_nothing_follows() -> None:
    control = subject("random 0", "p", gs=0.25, top1=0.1)
    text = said(report(subject("base"), subject("uwm", "p", gs=0.2), controls=(control,)))
    assert "as much or more, but it clearly cost more knowledge (Ts-Vs -50.0, the edit 0.0), so nothing follows" in text


def test_controls_of_another_patch_do_not_count() -> None:
    made = report(subject("base"), subject("uwm", "p", gs=0.2), controls=(subject("random 0", "q", gs=0.25),))
    assert "no controls were run" in said(made)


def test_losses_are_named() -> None:
    text = said(report(subject("base"), subject("uwm", "p", gs=0.2, top1=0.3, ps=0.7)))
    assert "knowledge lost: Ts-Vs 60.0 to 30.0 (-30.0), Vs-Ts" in text and "top1" in text
    assert "less safe on safe inputs: P_s^t 90.0 to 70.0 (-20.0)" in text


def test_knowledge_that_was_not_measured_is_asked_for() -> None:
    made = report(subject("base", knowledge=False), subject("uwm", "p", gs=0.2, knowledge=False))
    assert "knowledge was not measured here" in said(made)


def test_a_base_alone_is_set_beside_chance() -> None:
    made = report(subject("base"))
    assert verdict(made) == [
        "base: GS 2.0 [1.1, 3.5], n = 600; independent noise scores 8.3, collapsed embeddings 25.0."
    ]
