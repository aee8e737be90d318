"""A stranger's evaluation in which less is better, data sets and judge, each in one file, through everything there is.

Nothing of editkit knows them: what is shown and exported follows from what their specs say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import Ran, as_error, cache_at, done, run
from evaluation_files import CHANGED, LEAKS
from huggingface_hub import ModelCard
from models import table, tiny_clip
from rich.console import Console

import editkit
from editkit.components.load import load_host
from editkit.reports.read import read_report
from editkit.reports.show import render

TUPLES = 24
OWN = ("leak:text", "leak:image", "lost")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, scenes in a stranger's layout, the plugin files and a strong edit."""
    from textwrap import dedent

    root = tmp_path_factory.mktemp("third-party")
    for name, code in (("leaks_of_scenes", LEAKS), ("changed_tensors", CHANGED)):
        (root / f"{name}.py").write_text(dedent(code))
    tiny_clip(root / "model")
    rows = table(root / "scenes", TUPLES, split="test").read_text().splitlines()
    (root / "scenes" / "scenes.json").write_text(json.dumps([json.loads(row) for row in rows]))
    with cache_at(root / "cache"):
        flags = ("--model", root / "model", "--data", f"scenes:{root / 'scenes'}", "--workers", 0)
        done("--plugin", root / "leaks_of_scenes.py", "edit", *flags, "--tau", 0.9, "-o", root / "patch")
    return root


pytestmark = pytest.mark.usefixtures("beside_place")


def leaks(place: Path, *flags: object, runner: Any = done) -> Ran:
    """Run `eval leaks` on the stranger's data."""
    data = ("--model", place / "model", "--data", f"scenes:{place / 'scenes'}")
    knowledge = ("--knowledge", f"colours:{place / 'scenes'}")
    ran: Ran = runner("--plugin", place / "leaks_of_scenes.py", "eval", "leaks", *data, *knowledge, *flags)
    return ran


def values(row: Mapping[str, Any]) -> dict[str, float]:
    return {metric: rate["value"] for metric, rate in row["metrics"].items()}


# Evaluated


def test_its_metrics_stand_beside_those_that_it_asks_for(place: Path) -> None:
    report = leaks(place, "--patch", place / "patch", "--json").json
    assert list(report["models"][0]["metrics"]) == [*OWN, "Ts-Vs", "top1"]
    assert report["beside"]["top1"]["name"] == "colours" and report["data"]["name"] == "scenes/test"
    assert (report["title"], report["items"]) == ("Leaks", "tuples") and len(report["controls"]) == 4
    facts = report["metrics"]
    assert facts["leak:text"] == {
        "better": "less", "about": "safety", "headline": True, "label": "leak\ntext", "latex": "$L_text$"
    }  # fmt: skip
    assert facts["top1"]["of_data"] and facts["Ts-Vs"]["about"] == "knowledge"
    assert report["run"]["options"] == {"margin": 0.0, "sides": ["text", "image"], "words": {}}


def test_the_functions_of_python_return_the_same(place: Path) -> None:
    report = editkit.evaluate(
        "leaks",
        model=place / "model",
        data=f"scenes:{place / 'scenes'}",
        patches=[place / "patch"],
        knowledge=f"colours:{place / 'scenes'}",
        options={"sides": ("text",)},
        host=load_host((place / "leaks_of_scenes.py",)),
    )
    printed = leaks(place, "--patch", place / "patch", "--sides", "text", "--json").json
    assert report == printed


def test_options_are_flags_or_settings_whatever_their_type(place: Path) -> None:
    shown = done("--plugin", place / "leaks_of_scenes.py", "eval", "leaks", "--help").flat
    assert "--margin <float> By how much the unsafe image must win. [default: 0.0]" in shown
    assert "--sides <a,b>" in shown and "--words <yaml>" in shown and "--knowledge" in shown
    assert "leaks unsafe captions" in done("--plugin", place / "leaks_of_scenes.py", "eval", "--help").flat
    few = ("--limit", 4, "--no-controls", "--json")
    by_flag = leaks(place, "--margin", 0.5, "--sides", "text", "--words", "{death: 1}", *few).json
    by_setting = leaks(
        place, *("--set", "leaks.margin=0.5", "--set", "leaks.sides=[text]", "--set", "leaks.words={death: 1}"), *few
    ).json
    assert by_flag == by_setting
    assert by_flag["run"]["options"] == {"margin": 0.5, "sides": ["text"], "words": {"death": 1.0}}
    assert "leaks.margin = -1" in as_error(leaks(place, "--margin", -1, runner=run))
    assert "Did you mean 'margin'?" in as_error(leaks(place, "--set", "leaks.margn=1", runner=run))


def test_a_recipe_file_sets_options_too(place: Path) -> None:
    Path("recipe.yaml").write_text("leaks: {margin: 0.25, sides: [image]}\ncalibration: {limit: 4}\n")
    flags = ("--recipe", "recipe.yaml", "--no-controls", "--json")
    assert leaks(place, *flags).json["run"]["options"]["margin"] == 0.25
    assert leaks(place, *flags, "--margin", 0.5).json["run"]["options"] == {
        "margin": 0.5, "sides": ["image"], "words": {}
    }  # fmt: skip


def test_a_missing_item_of_its_data_set_is_left_out_by_name_or_stops_the_run(place: Path) -> None:
    rows = json.loads((place / "scenes" / "scenes.json").read_text())[:4]
    rows[1]["safe_image"] = "gone.jpg"
    Path("few").mkdir()
    for row in rows:
        for side in ("safe_image", "unsafe_image"):
            if (place / "scenes" / row[side]).exists():
                Path("few", row[side]).symlink_to(place / "scenes" / row[side])
    Path("few/scenes.json").write_text(json.dumps(rows))
    flags = ("--model", place / "model", "--data", "scenes:few", "--knowledge", "none", "--json")
    command = ("--plugin", place / "leaks_of_scenes.py", "eval", "leaks", *flags)
    assert "gone.jpg" in as_error(run(*command))
    report = done(*command, "--on-bad-item", "skip").json
    assert report["data"]["n"] == 3 and report["left_out"] == [{"id": rows[1]["id"], "reason": "image missing"}]


def test_every_tuple_has_its_own_column_in_the_file_of_similarities(place: Path) -> None:
    leaks(place, "--patch", place / "patch", "--no-controls", "--similarities", "s.parquet")
    rows = pq.read_table("s.parquet").to_pylist()
    assert len(rows) == 2 * TUPLES
    for row in rows:
        assert row["lead"] == pytest.approx(row["s_vu_tu"] - row["s_vs_tu"])
        assert row["leak:text"] == (row["lead"] > 0) and row["lost"] == (row["s_vs_ts"] <= row["s_vu_ts"])


# Shown


def improved(place: Path) -> Any:
    """A report in which the edit leaks much less, and loses much more."""
    report: Any = leaks(place, "--patch", place / "patch", "--json").json
    edit = report["models"][1]
    for metric, change in (("leak:text", -60.0), ("lost", 40.0)):
        edit["difference"][metric] = {"value": change, "low": change - 5, "high": change + 5, "p": 0.001}
    return report


def test_the_table_fits_eighty_columns_and_says_where_less_is_better(place: Path) -> None:
    ran = leaks(place, "--patch", place / "patch", "--by", "concept")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Leaks on scenes/test, n = 24 tuples" in ran.flat
    assert "Less is better: leak:text, leak:image, lost." in ran.flat and "By concept" in ran.flat
    assert "Kept in editkit-runs/eval-leaks-" in ran.err


def test_better_is_green_and_worse_is_red(place: Path) -> None:
    console = Console(width=80, file=StringIO(), force_terminal=True, color_system="standard")
    render(improved(place), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"\x1b\[32m-60\.0 \[", text) and re.search(r"\x1b\[31m\+40\.0 \[", text)


def test_the_verdict_goes_the_right_way(place: Path) -> None:
    from editkit.reports.verdict import verdict

    told = " ".join(verdict(improved(place)))
    assert "leak:text fell from" in told and "the largest leak:text change of 4 controls" in told
    assert "knowledge lost: lost " in told and "(+40.0)" in told


# Kept and exported


def test_results_and_every_export_have_its_metrics_beside_editkits_own(place: Path) -> None:
    leaks(place, "--patch", place / "patch", "--limit", 8, "-o", "leaks.json")
    data = ("--model", place / "model", "--data", f"scenes:{place / 'scenes'}", "--workers", 0, "--limit", 8)
    plugin = ("--plugin", place / "leaks_of_scenes.py")
    done(*plugin, "eval", "safeground", *data, "--patch", place / "patch", "--knowledge", "none", "-o", "sg.json")
    listed = done("results", "leaks.json").flat  # without the plugin: the report says it all
    assert "leaks on scenes/test" in listed and "base: leak:text " in listed and "lost " in listed
    both = ("results", "export", "leaks.json", "sg.json", "--format")
    markdown, latex, card = (done(*both, form).out for form in ("markdown", "latex", "model-index"))
    heads = [cell.strip() for cell in markdown.splitlines()[0].strip("| ").split("|")]
    assert {"GS", "Ts-Vs", *OWN} <= set(heads) and "Less is better: leak:text, leak:image, lost." in markdown
    assert "$L_text$ & $L_image$ & lost" in latex
    found = {result.metric_name: result for result in ModelCard(card).data.eval_results or []}
    leak = found["leak:text"]
    assert (leak.task_type, leak.task_name) == ("leaks", "Leaks") and leak.metric_args["better"] == "less"
    assert "leak:text low" in done(*both, "csv").out.splitlines()[0]
    entries = [json.loads(line) for line in done(*both, "clip-benchmark").out.splitlines()]
    assert {entry["dataset"] for entry in entries} == {"scenes/test", "colours"}


def test_a_kept_report_is_read_and_told_without_the_plugin(place: Path) -> None:
    leaks(place, "--patch", place / "patch", "--limit", 8, "-o", "leaks.json")
    console = Console(width=80, file=StringIO())
    render(read_report(Path("leaks.json")), console)
    assert "Leaks on scenes/test" in console.file.getvalue()  # type: ignore[attr-defined]


# An evaluation that runs by itself, and a judge


def changed(place: Path, *flags: object) -> Ran:
    data = ("--model", place / "model", "--data", f"scenes:{place / 'scenes'}", "--patch", place / "patch")
    plugins = ("--plugin", place / "leaks_of_scenes.py", "--plugin", place / "changed_tensors.py")
    return done(*plugins, "eval", "changed", *data, *flags)


def test_an_evaluation_that_runs_by_itself_goes_through_the_same_door(place: Path) -> None:
    report = changed(place, "--json").json
    [base, edit] = report["models"]
    assert values(base) == {"touched": 0} and values(edit)["touched"] > 0 and report["controls"] == []
    assert report["run"]["model"]["source"] == str(place / "model") and report["title"] == "changed"
    assert len(changed(place, "--controls", "--json").json["controls"]) == 4
    text = changed(place).flat
    assert "changed on scenes, n = " in text and "Less is better: touched." in text
    assert "not compared with the base by any metric" in text
    assert "--workers" not in done("--plugin", place / "changed_tensors.py", "eval", "changed", "--help").out


def test_it_may_have_something_judged_by_a_strangers_judge(place: Path) -> None:
    report = changed(place, "--judge", "letter", "--judge", "again=letter", "--json").json
    names = set(report["models"][1]["metrics"])
    assert names == {"touched", "called:letter", "called:again"}


def test_the_judge_judges_what_is_there_already(place: Path) -> None:
    Path("texts.jsonl").write_text('{"id": "1", "text": "a box"}\n{"id": "2", "text": "a dog"}\n')
    ran = done("--plugin", place / "changed_tensors.py", "judge", "texts.jsonl", "--judge", "letter", "--json")
    [row] = ran.json["models"]
    assert row["metrics"]["texts:pct_NSFW:letter"]["value"] == 50
    host = load_host((place / "changed_tensors.py",))
    judged = editkit.judge(["texts.jsonl"], ["letter"], output="judged", host=host)
    assert judged.report["models"][0]["metrics"] == row["metrics"] and judged.folder == Path("judged")
    assert ran.json["judges"]["letter"] == {"name": "letter", "revision": "1", "prompt_hash": ""}


# Refused


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"evaluation": "changed", "similarities": "s.parquet"}, "no embeddings"),
        ({"evaluation": "changed", "knowledge": "colours:x"}, "no labelled images are measured beside `changed`"),
        ({"evaluation": "safeground", "judges": ["letter"]}, "`safeground` has nothing judged"),
        ({"evaluation": "zeroshot", "knowledge": "colours:x"}, "no labelled images are measured beside `zeroshot`"),
        ({"evaluation": "leaks", "data": "colours:."}, "holds labelled images"),
    ],
)
def test_what_an_evaluation_has_no_use_for_is_refused(place: Path, arguments: dict[str, Any], told: str) -> None:
    host = load_host((place / "leaks_of_scenes.py", place / "changed_tensors.py"))
    with pytest.raises(editkit.EditkitError, match=re.escape(told)):
        editkit.evaluate(**arguments, host=host)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('better="less", about="safety"', 'better="lower", about="safety"', "Input should be 'more' or 'less'"),
        ("columns=True", 'columns=True, judges="text"', "has `judges`"),
        ("columns=True", 'columns="yes"', "columns"),
        ("options=ScenesOptions)", "options=LeaksOptions)", "options"),
        ('title="Leaks"', 'titel="Leaks"', "titel"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_when_it_registers(plugin_file: Any, old: str, new: str, told: str) -> None:
    assert old in LEAKS
    message = as_error(run("--plugin", plugin_file("wrong_spec", LEAKS.replace(old, new)), "eval", "--help"))
    assert "wrong_spec" in message and told in message


def test_hits_of_the_wrong_form_are_named(place: Path, plugin_file: Any) -> None:
    code = LEAKS.replace("lost = s.ss <= s.us", "lost = (s.ss <= s.us).astype(float)")
    file = plugin_file("wrong_hits", code)
    flags = ("--model", place / "model", "--data", f"scenes:{place / 'scenes'}", "--knowledge", "none")
    message = as_error(run("--plugin", file, "eval", "leaks", *flags))
    assert "hits of 'base' for lost are float64 (24,), not bool (24,)" in message
