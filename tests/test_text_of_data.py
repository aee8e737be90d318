"""Text that is none, and tables and YAML files that say something else than was meant: named by row, line or mark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import as_error, done, run
from models import table, visu
from PIL import Image

from editkit.data.class_file import read_class_file
from editkit.data.classes import Classes
from editkit.data.options import ClassesOptions, PairsOptions, QueriesOptions, VisuOptions
from editkit.data.pairs import Pairs
from editkit.data.queries import Queries
from editkit.data.readers.labels import Labels
from editkit.data.readers.tables import read_table
from editkit.data.visu import Visu
from editkit.errors import DataError, RecipeError
from editkit.evals.judges.items import read_items
from editkit.evals.judges.options import ReplayOptions
from editkit.evals.judges.replay import Replay
from editkit.files.whole_text import half_pair, json_text
from editkit.files.yaml_text import read_yaml
from editkit.recipes.layers import read_recipe

HALF = "cut \ud83d"
SAID = "half of a surrogate pair (\\ud83d), which is no text"


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def refused(call: Callable[[], object]) -> DataError:
    with pytest.raises(DataError) as error:
        call()
    assert len(str(error.value).splitlines()) == 2
    return error.value


def test_half_a_character_is_found_and_a_whole_one_is_not() -> None:
    assert half_pair("a \U0001f600 b") is None and half_pair("") is None
    assert half_pair(HALF) == SAID


def test_json_is_as_it_was_unless_a_name_cannot_be_written() -> None:
    assert json_text({"a": "\U0001f600"}) == '{"a": "\U0001f600"}'
    unwritable = {"a": "caf\udce9"}
    assert json_text(unwritable).isascii() and json.loads(json_text(unwritable)) == unwritable


@pytest.mark.parametrize("column", ["id", "safe_text", "unsafe_text", "concept", "slice"])
def test_a_pair_with_half_a_character_is_refused_by_row_or_left_out(tmp_path: Path, column: str) -> None:
    good = [{"id": f"{n}", "safe_text": "a", "unsafe_text": "b"} for n in range(3)]
    path = lines(tmp_path / "t.jsonl", *good, {"safe_text": "a", "unsafe_text": "b", column: HALF})
    assert (
        refused(lambda: Pairs(PairsOptions(path=path)).load("test")).problem
        == f"t.jsonl, row 4: {column} holds {SAID}."
    )
    data = Pairs(PairsOptions(path=path, on_bad_item="skip")).load("test")
    assert len(data.items) == 3
    [entry] = data.left_out
    assert entry.reason == f"{column} holds {SAID}"


def test_a_whole_evaluation_leaves_such_a_row_out_with_its_count(tmp_path: Path) -> None:
    pairs = table(tmp_path, 6, split="test")
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    rows[2]["unsafe_text"] += HALF
    lines(pairs, *rows)
    flags = ("eval", "safeground", "--data", pairs, "--no-controls", "--workers", 0)
    assert f"row 3: unsafe_text holds {SAID}" in as_error(run(*flags))
    report = done(*flags, "--on-bad-item", "skip", "--json").json
    assert report["data"]["n"] == 5 and report["left_out"][0]["id"] == rows[2]["id"]


def test_queries_labels_and_recorded_scores_are_read_by_the_same_rule(tmp_path: Path) -> None:
    queries = lines(tmp_path / "q.jsonl", {"text": "a"}, {"text": "b"}, {"text": HALF})
    assert (
        f"q.jsonl, row 3: text holds {SAID}" in refused(lambda: Queries(QueriesOptions(path=queries)).load("")).problem
    )
    assert Queries(QueriesOptions(path=queries, on_bad_item="skip")).load("").ids == ("1", "2")

    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    lines(tmp_path / "l.jsonl", *({"image": "a.png", "label": label} for label in ("cat", "cat", HALF)))
    (tmp_path / "set.yaml").write_text('{name: s, template: "{}", classes: [cat], table: l.jsonl}')
    options = {"path": tmp_path / "set.yaml"}
    assert f"row 3: label holds {SAID}" in refused(lambda: Classes(ClassesOptions(**options)).load("")).problem
    assert len(Classes(ClassesOptions(**options, on_bad_item="skip")).load("").left_out) == 1

    scores = lines(tmp_path / "s.jsonl", {"text": "a", "score": 0.5}, {"text": HALF, "score": 0.5})
    assert "s.jsonl, row 2: text holds" in refused(lambda: Replay(ReplayOptions(path=scores)).judge(["a"])).problem


def test_texts_to_judge_are_left_out_with_the_reason(tmp_path: Path) -> None:
    found = read_items(lines(tmp_path / "t.jsonl", {"text": "a"}, {"text": HALF}, {"text": ""}), "text")
    assert found.items == ("a",)
    assert [entry.reason for entry in found.left_out] == [f"text holds {SAID}", "text is empty"]


@pytest.mark.parametrize("field", ["safe", "nsfw", "tag"])
def test_an_element_of_visu_with_half_a_character_is_left_out_or_refused(tmp_path: Path, field: str) -> None:
    folder = visu(tmp_path / "visu", 4)
    file = folder / "ViSU-Text_test.json"
    elements = json.loads(file.read_text())
    elements[1][field] = HALF
    file.write_text(json.dumps(elements))
    [entry] = Visu(VisuOptions(path=folder)).load("test").left_out
    assert (entry.id, entry.reason) == ("element 2", f"{field} holds {SAID}")
    assert "element 2" in refused(lambda: Visu(VisuOptions(path=folder, on_bad_item="error")).load("test")).problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' occurs twice, in lines 1 and 3"),
        ("x: {c: 1, c: 2}", "the key 'c' occurs twice, in lines 1 and 1"),
        ("- {a: 1}\n- {b: 1, 'b': 2}", "the key 'b' occurs twice"),
        ('a: "\\ud83d"', f"line 1 holds {SAID}"),
    ],
)
def test_yaml_refuses_keys_that_occur_twice_and_half_a_character(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError) as error:
        read_yaml(text)
    assert said in str(error.value)


def test_yaml_reads_all_else_as_ever() -> None:
    assert read_yaml("a: &x {k: 1}\nb: {<<: *x, k: 2}\nc: [~, 1, yes]") == {
        "a": {"k": 1},
        "b": {"k": 2},
        "c": [None, 1, True],
    }
    assert read_yaml('"\\ud83d\\ude00"') == "\U0001f600"  # two escapes, as JSON writes one character


def test_class_files_recipes_and_settings_refuse_keys_that_occur_twice(tmp_path: Path) -> None:
    (tmp_path / "set.yaml").write_text('name: a\nname: b\ntemplate: "{}"\nfolder: x\n')
    assert (
        "the key 'name' occurs twice, in lines 1 and 2"
        in refused(lambda: read_class_file(tmp_path / "set.yaml")).problem
    )
    (tmp_path / "r.yaml").write_text("selector: {tau: 0.1}\nselector: {tau: 0.2}\n")
    with pytest.raises(RecipeError, match="'selector' occurs twice"):
        read_recipe(tmp_path / "r.yaml")
    assert "the value cannot be read" in as_error(run("plan", "--set", "targets={a: 1, a: 2}"))


@pytest.mark.parametrize(("mark", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_table_with_other_marks_than_commas_says_so(tmp_path: Path, mark: str, called: str) -> None:
    (tmp_path / "t.csv").write_text(f"image{mark}label\na.png{mark}cat\n")
    problem = refused(lambda: read_table(tmp_path / "t.csv", ())).problem
    assert f"with {called} where commas should be" in problem


def test_a_table_in_utf_16_says_so(tmp_path: Path) -> None:
    for name, text in (("t.csv", "image,label\na.png,cat\n"), ("t.jsonl", '{"image": "a"}')):
        (tmp_path / name).write_text(text, encoding="utf-16")
        assert "save it as UTF-8" in refused(lambda name=name: read_table(tmp_path / name, ())).remedy  # type: ignore[misc]


def test_byte_order_marks_are_no_part_of_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeff\ufeffimage,label\na.png,cat\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv", ()).columns == ("image", "label")
    (tmp_path / "t.jsonl").write_text('\ufeff{"a": 1}\n\ufeff{"a": 2}\n', encoding="utf-8")
    assert len(read_table(tmp_path / "t.jsonl", ()).rows) == 2
    (tmp_path / "r.yaml").write_text("\ufeffscorer: uwm\n", encoding="utf-8")
    assert read_recipe(tmp_path / "r.yaml") == {"scorer.name": "uwm"}


def test_a_label_that_became_a_float_is_told_how() -> None:
    remedy = refused(lambda: Labels("s.yaml", ("a", "b")).index("row 1", "1.0")).remedy
    assert remedy.startswith("Write 1, not 1.0: an empty cell makes pandas store whole numbers as floats.")
