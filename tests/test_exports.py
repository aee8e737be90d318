"""Runs exported as tables: one line a model, in the paper's column order; where they go, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path

import pytest
from command_line import as_error, done, run
from report_samples import (
    DIRECTIONS,
    N,
    benchmark,
    built,
    exported,
    facts,
    keep,
    retrieval,
    run_of,
    safeground,
    zeroshot,
)

from editkit.evals.retrieval import Retrieval
from editkit.evals.safeground import METRICS
from editkit.reports.columns import CAPTIONS, KNOWLEDGE, PAPER, SAFETY, Column, in_paper_order
from editkit.reports.facts import facts_of
from editkit.reports.parts import parts_of
from editkit.reports.schema import Report

TABLES = json.loads((Path(__file__).parent / "paper" / "tables.json").read_text())["tables"]


pytestmark = pytest.mark.usefixtures("runs_here")


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """The rows of a CSV by name."""
    return {row["name"]: row for row in csv.DictReader(StringIO(text))}


# The paper's order


def test_columns_are_those_of_the_papers_tables_in_their_order() -> None:
    assert list(SAFETY) == TABLES["main.1"]["columns"]
    assert list(KNOWLEDGE) == TABLES["main.2"]["columns"]
    assert list(CAPTIONS) == TABLES["main.5"]["columns"]
    for table in ("main.3", "main.4", "supp.1"):
        columns = [Column(name, name) for name in TABLES[table]["columns"]]
        assert in_paper_order(reversed(columns)) == columns


def test_metrics_that_the_paper_does_not_print_come_last_and_accuracy_first() -> None:
    tuples = built("safeground", {"base": dict.fromkeys(["GS", "Ts-Vs@5", "new", "PS", "Ts-Vs"], 4)})
    measured = [*columns_of(zeroshot()), *columns_of(tuples)]
    names = [column.name for column in in_paper_order(measured)]
    assert names == ["top1 pets", "Ts-Vs", "PS", "GS", "top5 pets", "mean_per_class pets", "Ts-Vs@5", "new"]
    captions = [
        "Meteor:safe",
        "empty",
        "RougeL:safe",
        "corpus-Bleu:safe",
        "Bleu-2:safe",
        "score:toxicity",
        "pct_NSFW:llm",
    ]
    told = built("captioning", {"base": {f"unsafe:{name}": 4 for name in captions}})
    assert [column.name.split(":")[1] for column in in_paper_order(columns_of(told))] == [
        "pct_NSFW",
        "score",
        "RougeL",
        "Bleu-2",
        "Meteor",
        "empty",
        "corpus-Bleu",
    ]


def columns_of(report: Report) -> list[Column]:
    [part] = parts_of(report)
    return [part.column(metric) for metric in report["models"][0]["metrics"]]


def test_everything_that_is_measured_on_tuples_has_a_place_or_follows() -> None:
    assert set(METRICS) | set(DIRECTIONS) <= set(PAPER)
    assert Retrieval().directions == DIRECTIONS


# Tables


def test_runs_of_one_model_and_patch_are_one_line() -> None:
    text = exported(keep(safeground(), retrieval(), zeroshot(), zeroshot("cars")), "csv")
    rows = rows_of(text)
    assert list(rows) == ["independent noise", "collapsed", "demo", "uwm", "random 0"]
    header = text.splitlines()[0].split(",")
    columns = ["top1 pets", "top1 cars", *SAFETY[1:]]
    assert header[:4] == ["name", "kind", "model", "patch"] and header[4 : 4 + len(columns)] == columns
    assert {"top5 pets", "mean_per_class cars", "Tu-Vu+s@5"} < set(header[4 + len(columns) :])
    assert [row["kind"] for row in rows.values()] == ["chance", "chance", "base", "edit", "control"]
    base, edit, control = rows["demo"], rows["uwm"], rows["random 0"]
    assert float(base["GS"]) == 100 * 4 / N and float(edit["GS"]) == 25 and float(edit["Ts-Vs"]) == 62.5
    assert float(edit["top1 pets"]) == 75 and edit["top1 pets n"] == "40" and edit["GS n"] == str(N)
    assert edit["patch"] == control["patch"] == "runs/uwm" and control["Ts-Vs"] == ""
    assert float(rows["collapsed"]["GS"]) == 25 and rows["collapsed"]["GS n"] == ""


def test_csv_holds_every_number_of_the_report() -> None:
    report = safeground()
    row = rows_of(exported(keep(report), "csv"))["uwm"]
    for metric in METRICS:
        rate, change = report["models"][1]["metrics"][metric], report["models"][1]["difference"][metric]
        assert float(row[metric]) == rate["value"]
        assert [float(row[f"{metric} {end}"]) for end in ("low", "high", "n")] == [rate["low"], rate["high"], N]
        found = [float(row[f"{metric} {name}"]) for name in ("change", "change_low", "change_high", "p")]
        assert found == [change["value"], change["low"], change["high"], change["p"]]
        assert row[f"{metric} data"] == "demo/test" and row[f"{metric} fingerprint"] == "0a1b2c3d4e5f6071"


def test_tuples_of_other_data_never_stand_in_one_line() -> None:
    other = facts("visu/test", "ee" * 8)
    rows = rows_of(exported(keep(safeground(), retrieval(data=other), zeroshot()), "csv"))
    assert rows["demo (demo/test)"]["GS"] and not rows["demo (demo/test)"]["Ts-Vs"]
    assert rows["demo (visu/test)"]["Ts-Vs"] and not rows["demo (visu/test)"]["GS"]
    assert rows["demo (demo/test)"]["top1 pets"] == rows["demo (visu/test)"]["top1 pets"] == "90.0"


def test_models_and_patches_are_told_apart_by_content() -> None:
    large = run_of("openai/clip-vit-large-patch14", identity="cd" * 32)
    rows = rows_of(exported(keep(safeground(), retrieval(run=large)), "csv"))
    assert {"demo", "openai/clip-vit-large-patch14", "uwm (demo)"} <= rows.keys()
    assert "uwm (openai/clip-vit-large-patch14)" in rows
    renewed = run_of()
    renewed["patches"][0]["digest"] = "00" * 32
    names = [name for name in rows_of(exported(keep(safeground(), retrieval(run=renewed)), "csv")) if "uwm" in name]
    assert names == [f"uwm (patch {b'runs/uwm'.hex()[:8]} in eval-0)", "uwm (patch 00000000 in eval-1)"]


def of_patch(folder: str, name: str, gs: int) -> Report:
    """SafeGround of an edit in a folder, beside a control that is called as any other's."""
    made = built("safeground", {"base": {"GS": 5}, name: {"GS": gs}}, controls={"random 0": {"GS": gs - 3}})
    made["run"] = run_of(patches=[folder])
    made["models"][1]["patch"] = made["controls"][0]["patch"] = folder
    return made


def test_namesakes_and_their_controls_are_told_apart_by_names_that_people_gave() -> None:
    names = rows_of(exported(keep(of_patch("first/uwm", "uwm", 9), of_patch("second/uwm", "uwm", 12)), "csv"))
    assert {"uwm (first/uwm)", "uwm (second/uwm)"} <= names.keys()
    assert {"random 0 (first/uwm)", "random 0 (second/uwm)"} <= names.keys()
    others = keep(of_patch("first/uwm", "uwm", 9), of_patch("second/uwm", "uwm-2", 12))
    assert {"uwm", "uwm-2", "random 0 (control of uwm)", "random 0 (control of uwm-2)"} <= rows_of(
        exported(others, "csv")
    ).keys()
    told = "Controls, other changes of the same size: random 0 (control of uwm), random 0 (control of uwm-2)."
    assert told in exported(others, "markdown")


def test_a_metric_of_labelled_images_is_found_without_the_name_of_their_set() -> None:
    run_ = keep(safeground(), zeroshot())
    chosen = rows_of(exported(run_, "csv", "--metrics", "top1"))
    assert next(column for column in chosen["demo"] if column.startswith("top1")) == "top1 pets"
    assert cells(exported(run_, "markdown", "--metrics", "GS,top1").splitlines()[0]) == ["GS", "top1 pets"]


def test_a_model_in_another_precision_is_another_line() -> None:
    half = run_of()
    half["precision"] = {"dtype": "float16"}
    rows = rows_of(exported(keep(safeground(), retrieval(run=half)), "csv"))
    assert rows["demo (dtype float32)"]["GS"] and rows["demo (dtype float16)"]["Ts-Vs"]
    assert not rows["demo (dtype float32)"]["Ts-Vs"]


def test_two_runs_that_disagree_have_a_line_each() -> None:
    half = built("safeground", {"base": dict.fromkeys(METRICS, 40), "uwm": dict.fromkeys(METRICS, 60)})
    rows = rows_of(exported(keep(safeground(), half), "csv"))
    assert rows["demo (eval-0)"]["GS"] == "5.0" and rows["demo (eval-1)"]["GS"] == "50.0"
    assert exported(keep(safeground(), safeground()), "csv").count(",base,") == 1


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_markdown_has_the_papers_columns_with_intervals_and_says_what_was_measured() -> None:
    names = keep(safeground(), retrieval(), zeroshot())
    lines = exported(names, "markdown").splitlines()
    header = cells("x" + lines[0][1:])[1:]
    assert header == ["top1 pets", *SAFETY[1:]]
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    [edit] = [cells(line) for line in lines if line.startswith("| uwm ")]
    assert edit[1 + header.index("GS")] == "25.0 [16.8, 35.5]" and edit[1 + header.index("top1 pets")].startswith(
        "75.0 ["
    )
    assert "In per cent, with 95 % intervals. On demo/test (0a1b2c3d4e5f), n = 80, but: top1 pets: pets" in lines[-1]
    chosen = exported(names, "markdown", "--metrics", "Ts-Vs@5, GS").splitlines()
    assert chosen[0] == "|  | Ts-Vs@5 | GS |"


def test_a_bar_in_a_name_does_not_break_a_markdown_table() -> None:
    report = built("safeground", {"base": {"GS": 4}, "a|b": {"GS": 9}})
    assert r"| a\|b | 11.2" in exported(keep(report), "markdown")


def test_latex_is_a_table_for_booktabs_that_needs_nothing_else() -> None:
    report = built("safeground", {"base": dict.fromkeys(METRICS, 4), "50%_&#~^": dict.fromkeys(METRICS, 20)})
    text = exported(keep(report, retrieval()), "latex")
    body = re.search(r"\\begin\{tabular\}\{(.*?)\}\n\\toprule\n(.*)\\bottomrule", text, re.DOTALL)
    assert body
    columns, rows = len(body[1]), [line for line in body[2].splitlines() if line.endswith(r"\\")]
    assert columns == len(SAFETY) and {row.count(" & ") + 1 for row in rows if "50" not in row} == {columns}
    heads = [cell.strip() for cell in rows[0].removesuffix(r"\\").split("&")]
    latex = {name: facts.latex or name for one in (safeground(), retrieval()) for name, facts in facts_of(one).items()}
    assert heads[1:] == [latex[name] for name in SAFETY[1:]]
    assert r"50\%\_\&\#\textasciitilde{}\textasciicircum{} & " in text
    assert r"{\tiny [16.8, 35.5]}" in text
    assert text.count("{") == text.count("}") and text.count("$") % 2 == 0
    outside = re.sub(r"\$[^$]*\$|\\[%_&#]|\\text\w+\{\}", "", body[2])
    assert not re.search(r"[_#^~]", outside)


# Benchmarks of several sets


def test_sets_stand_in_the_papers_columns_and_their_mean_last() -> None:
    lines = exported(keep(benchmark()), "markdown").splitlines()
    assert cells("x" + lines[0][1:])[1:] == ["PETS", "CARS", "Mean"]
    [base] = [cells(line) for line in lines if line.startswith("| demo ")]
    assert [cell.split()[0] for cell in base[1:]] == ["90.0", "50.0", "70.0"]
    assert "PETS: Oxford Pets (" in lines[-1] or "On Oxford Pets (" in lines[-1]


def test_beside_safety_the_mean_is_the_first_column_as_in_the_papers_first_table() -> None:
    rows = rows_of(exported(keep(safeground(), retrieval(), benchmark()), "csv"))
    assert list(rows["uwm"])[4 : 4 + len(SAFETY)] == list(SAFETY)
    assert rows["uwm"]["zs_mean_acc"] == "50.0" and rows["uwm"]["zs_mean_acc n"] == "80"
    assert rows["uwm"]["PETS"] == "70.0" and rows["uwm"]["PETS data"] == "Oxford Pets"
    assert rows["uwm"]["mean_per_class PETS"] == "90.0"
    header = exported(keep(safeground(), benchmark()), "markdown").splitlines()[0]
    assert "zs_mean_acc" in header and "PETS" not in header


def test_a_mean_over_some_sets_is_not_called_the_mean() -> None:
    rows = rows_of(exported(keep(benchmark(of=17), safeground()), "csv"))
    assert rows["demo"]["Mean of 2 sets"] == "70.0" and not {"Mean", "zs_mean_acc"} & rows["demo"].keys()
    assert "mean of 2 of 17 sets" in done("results", "--evaluation", "zeroshot").flat


def test_profiles_are_never_in_one_column() -> None:
    rows = rows_of(exported(keep(benchmark(), benchmark("clip-benchmark")), "csv"))
    assert {"PETS", "PETS (clip-benchmark)", "Mean", "Mean (clip-benchmark)"} <= rows["demo"].keys()


# Where it goes


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "model-index"])
def test_a_file_holds_what_would_be_printed_and_is_never_written_over(form: str) -> None:
    names = keep(safeground(), retrieval())
    done("results", "export", *names, "--format", form, "-o", "out")
    assert Path("out").read_text() == exported(names, form)
    assert "out exists already" in as_error(run("results", "export", *names, "--format", form, "-o", "out"))


def test_runs_are_named_by_file_folder_or_name() -> None:
    names = keep(safeground())
    path = Path("editkit-runs") / f"{names[0]}.json"
    outputs = {exported([place], "csv") for place in (names[0], path.name, path, "editkit-runs", path.absolute())}
    assert len(outputs) == 1


def test_what_was_asked_for_by_name_must_be_usable_but_a_folder_goes_on() -> None:
    names = keep(safeground())
    bad = Path("editkit-runs/eval-bad.json")
    bad.write_text("{")
    assert "eval-bad.json is damaged" in as_error(run("results", "export", names[0], "eval-bad", "--format", "csv"))
    ran = done("results", "export", "editkit-runs", "--format", "csv")
    assert "uwm" in ran.out and "eval-bad.json is damaged" in ran.err
    assert "Did you mean 'eval-0'?" in as_error(run("results", "export", "eval-1", "--format", "csv"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--format", "csv", "--patch", "uwm"), "--patch chooses the model of a card"),
        (("--format", "model-index", "--metrics", "GS"), "--metrics chooses the columns of a table"),
        (("--format", "csv", "--metrics", "GSS"), "Did you mean 'GS'?"),
    ],
)
def test_options_that_would_do_nothing_are_refused(flags: tuple[str, ...], said: str) -> None:
    assert said in as_error(run("results", "export", *keep(safeground()), *flags))
