"""What a report says of its metrics decides how they are told: which way is better, where they stand, what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError
from report_samples import built, exported, keep, measured, retrieval, safeground, zeroshot
from rich.console import Console

from editkit.components.metric import ClipBenchmarkMetric, HubMetric, Metric, describe_metrics
from editkit.reports.changes import style_of
from editkit.reports.facts import facts_of, kept_facts
from editkit.reports.metric_schema import ClipBenchmarkFacts, HubFacts, MetricFacts
from editkit.reports.metrics import BUILT_IN
from editkit.reports.read import read_report
from editkit.reports.schema import Report
from editkit.reports.show import render
from editkit.reports.verdict import verdict

LEAK = Metric(name="leak", better="less", about="safety", headline=True, latex=r"$\ell$")
MISSED = Metric(name="missed", better="less", about="knowledge", headline=True)
HARM = Metric(name="harm@*", better="less", about="safe inputs", compared=True, label="harm\nat *")
CHANCE = {"independent": {"leak": 40.0}, "collapsed": {"leak": 50.0}}
BASE = {"leak": 70, "missed": 8, "harm@5": 8}


def leaks(*declared: Metric, edit: dict[str, int], **controls: int) -> Report:
    """A report of an evaluation that leaks less after an edit; controls differ from the base in their leak alone."""
    others = {name: BASE | {"leak": leak} for name, leak in controls.items()}
    made = built("leaks", {"base": BASE, "uwm": edit}, chance=CHANCE, controls=others)
    made["metrics"] = kept_facts(describe_metrics(declared, BASE))
    return made


def shown(report: Report) -> str:
    console = Console(width=80, file=StringIO(), highlight=False)
    render(report, console, every_metric=True)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


# Which way is better


def test_where_less_is_better_a_fall_is_a_gain_that_is_set_against_controls_and_chance() -> None:
    made = leaks(LEAK, MISSED, HARM, edit=BASE | {"leak": 10}, random=60, magnitude=75)
    [fell, largest, below, kept] = verdict(made)
    assert fell.startswith("uwm: leak fell from 87.5 to 12.5: -75.0 [")
    assert "the largest leak change of 2 controls is -12.5 [" in largest and "(random): clearly less." in largest
    assert "is below independent noise (40.0) and collapsed embeddings (50.0)." in below
    assert "no measurable loss of knowledge: missed 0.0" in kept


def test_a_control_that_falls_further_takes_the_credit() -> None:
    text = "\n".join(verdict(leaks(LEAK, edit=BASE | {"leak": 30}, random=75, magnitude=5)))
    assert (
        "(magnitude): as much or more, but knowledge was not measured, so nothing follows on the choice of weights."
        in text
    )
    assert "leak 37.5 is within reach of mere damage: independent noise (40.0) and collapsed embeddings (50.0)." in text


def test_without_controls_it_is_unknown_whether_other_weights_would_lower_it() -> None:
    assert "whether other weights would lower leak as much" in "\n".join(verdict(leaks(LEAK, edit=BASE | {"leak": 30})))


def test_a_rise_is_a_loss_of_knowledge_and_on_safe_inputs() -> None:
    text = "\n".join(verdict(leaks(LEAK, MISSED, HARM, edit={"leak": 80, "missed": 40, "harm@5": 40})))
    assert "leak rose from 87.5 to 100" in text and "controls" not in text
    assert "knowledge lost: missed 10.0 to 50.0 (+40.0)." in text
    assert "less safe on safe inputs: harm@5 10.0 to 50.0 (+40.0)." in text


@pytest.mark.parametrize(("better", "up"), [("more", "green"), ("less", "red")])
def test_better_is_green_and_worse_is_red(better: Any, up: str) -> None:
    facts = Metric(name="leak", better=better)
    rose, fell = (leaks(facts, edit=BASE | {"leak": leak})["models"][1] for leak in (80, 10))
    assert style_of(rose, facts) == up != style_of(fell, facts)
    assert style_of(leaks(facts, edit=BASE)["models"][1], facts) == ""


def test_tables_say_where_less_is_better_and_use_the_heads_of_the_metrics() -> None:
    text = shown(leaks(LEAK, HARM, edit=BASE | {"leak": 10}))
    assert "Less is better: leak, harm@5." in text and "at 5" in text
    assert "Less is better" not in shown(safeground())


@pytest.mark.usefixtures("runs_here")
def test_exports_print_the_metrics_of_other_evaluations_and_say_where_less_is_better() -> None:
    names = keep(safeground(), leaks(LEAK, MISSED, HARM, edit=BASE | {"leak": 10}))
    table, latex, card = (exported(names, form) for form in ("markdown", "latex", "model-index"))
    assert table.splitlines()[0].endswith("| GS | leak | missed |")
    assert "Less is better: leak, missed. On " in table and r"$\ell$" in latex
    assert "better: less" in card and "type: leaks" in card
    assert "leak low" in exported(names, "csv") and "harm@5 low" in exported(names, "csv")


@pytest.mark.usefixtures("runs_here")
def test_a_metric_says_what_the_hub_and_clip_benchmark_call_it() -> None:
    hub = HubMetric(task="leakage", title="Leakage", kind="leak_at_*")
    told = Metric(name="harm@*", hub=hub, clip_benchmark=ClipBenchmarkMetric(task="leakage", key="leak@*"))
    names = keep(leaks(told, edit=BASE))
    card = exported(names, "model-index")
    assert "type: leak_at_5" in card and "name: Leakage" in card
    assert '"metrics": {"leak@5": 0.1}' in exported(names, "clip-benchmark")


# Where the facts come from


@pytest.mark.usefixtures("runs_here")
def test_a_report_keeps_its_facts_and_another_version_may_say_more() -> None:
    made: Any = leaks(LEAK, HARM, edit=BASE)
    made["metrics"]["leak"]["colour"] = "blue"
    keep(made)
    facts = facts_of(read_report(Path("editkit-runs/eval-0.json")))
    assert (
        facts["leak"] == LEAK and facts["harm@5"] == HARM.named("harm@5") and facts["missed"] == Metric(name="missed")
    )


def test_older_reports_are_read_with_the_facts_of_editkits_own_metrics() -> None:
    for report in (safeground(), retrieval(), zeroshot(), measured()):
        assert "metrics" not in report
        facts = facts_of(report)
        assert all(facts[name].hub for name in report["models"][0]["metrics"])
    assert [name for name, one in facts_of(measured()).items() if one.about == "knowledge"] == ["Ts-Vs", "top1"]


def test_an_evaluation_that_declares_nothing_is_told_by_its_first_metrics() -> None:
    made = built("own", {"base": dict.fromkeys("abcdef", 4), "uwm": dict.fromkeys("abcdef", 9)})
    assert [name for name, one in facts_of(made).items() if one.headline] == list("abcd")


def test_a_pattern_names_what_its_stars_stand_for() -> None:
    pattern = Metric(name="*:R@*", label="R@*", title="*", latex="$R$")
    assert pattern.named("text:R@5") == Metric(name="text:R@5", label="R@text", title="text", latex="$R$")
    assert pattern.named("R@5") is None and Metric(name="P_s^t+(x)").named("P_s^t+(x)") is not None
    assert describe_metrics([pattern], ["new", "a:R@1"]) == {
        "a:R@1": pattern.named("a:R@1"),
        "new": Metric(name="new"),
    }


@pytest.mark.parametrize("wrong", [{"better": "most"}, {"about": "speed"}, {"headlne": True}, {"name": ""}])
def test_a_metric_with_a_word_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Metric(**{"name": "leak", **wrong})


@pytest.mark.parametrize(
    ("model", "kept"), [(Metric, MetricFacts), (HubMetric, HubFacts), (ClipBenchmarkMetric, ClipBenchmarkFacts)]
)
def test_the_schema_has_every_fact(model: Any, kept: Any) -> None:
    assert model.model_fields.keys() - {"name"} == get_type_hints(kept).keys()


def test_no_two_of_editkits_own_metrics_have_one_name() -> None:
    names: Sequence[str] = [one.name for one in BUILT_IN]
    assert len(set(names)) == len(names)
