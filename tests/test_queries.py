"""Tables of queries: what a row may hold, what is refused, how they are drawn and told apart; and slices of tuples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import editkit
from editkit.components.load import default_host
from editkit.components.specs import DatasetSpec
from editkit.data.options import PairsOptions, QueriesOptions
from editkit.data.pairs import Pairs
from editkit.data.queries import Queries, QuerySet, neutral_queries
from editkit.data.tuples import Item, TupleSet
from editkit.data.visu import parse_element
from editkit.errors import DataError, RecipeError
from editkit.testing import check_dataset

ROWS = [
    {"id": "a", "text": "a photo of a pizza.", "kind": "safe"},
    {"id": "b", "text": "a knife", "image": "red.png", "kind": "Unsafe", "slice": "wording: short"},
    {"id": "c", "image": "red.png", "kind": "neutral"},
]


def write(folder: Path, rows: list[dict[str, Any]], name: str = "queries.jsonl") -> Path:
    Image.new("RGB", (4, 4), "red").save(folder / "red.png")
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def load(path: Path | str, split: str = "test", **options: Any) -> QuerySet:
    return Queries(QueriesOptions(path=path, **options)).load(split)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        load(path, **options)
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


def test_a_row_has_a_text_or_an_image_or_both(tmp_path: Path) -> None:
    found = load(write(tmp_path, ROWS))
    assert found.ids == ("a", "b", "c") and found.kinds == ("safe", "unsafe", "neutral")
    assert found.texts == ("a photo of a pizza.", "a knife", None)
    assert found.images == (None, tmp_path / "red.png", tmp_path / "red.png")
    assert found.slices == ("", "wording: short", "") and found.name == "queries:queries.jsonl"


def test_ids_and_kinds_may_be_left_out_and_an_evaluation_can_ask_for_kinds(tmp_path: Path) -> None:
    found = load(write(tmp_path, [{"text": "a cat"}, {"text": "a dog", "kind": "safe"}]))
    assert found.ids == ("1", "2") and found.kinds == ("", "safe")
    with pytest.raises(DataError, match=r"1 rows do not say their kind, first '1'\.\nFill the column kind"):
        found.require_kinds()
    load(write(tmp_path, ROWS)).require_kinds()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "a cat", "kind": "harmful"}, "row 4: kind is 'harmful'"),
        ({"text": "a cat", "kind": "unsfe"}, "Did you mean 'unsafe'?"),
        ({"text": " ", "kind": "safe"}, "row 4: text and image are empty"),
        ({"image": "gone.png", "kind": "safe"}, "row 4: image missing"),
        ({"id": "a", "text": "again"}, "rows 1 and 4 have the same id 'a'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    assert told in refusal(write(tmp_path, [*ROWS, row]))


def test_an_unusable_row_is_left_out_by_name_when_asked(tmp_path: Path) -> None:
    found = load(write(tmp_path, [*ROWS, {"id": "d", "image": "gone.png"}]), on_bad_item="skip")
    assert found.ids == ("a", "b", "c") and [entry.id for entry in found.left_out] == ["d"]


def test_a_table_without_texts_and_images_is_refused(tmp_path: Path) -> None:
    assert "has neither text nor image" in refusal(write(tmp_path, [{"txt": "a cat"}]))


def test_a_larger_draw_keeps_what_a_smaller_one_drew(tmp_path: Path) -> None:
    found = load(write(tmp_path, [{"text": f"thing {i}", "kind": "safe"} for i in range(9)]))
    few, more = found.select(3), found.select(6)
    assert len(few.ids) == len(few.texts) == len(few.kinds) == 3 and set(few.ids) < set(more.ids)
    assert found.select() == found


def test_a_fingerprint_is_of_content_whatever_the_order(tmp_path: Path) -> None:
    first = load(write(tmp_path, ROWS)).fingerprint()
    assert load(write(tmp_path, ROWS[::-1])).fingerprint() == first
    assert load(write(tmp_path, [{**ROWS[0], "kind": "neutral"}, *ROWS[1:]])).fingerprint() != first
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "red.png")
    assert load(tmp_path / "queries.jsonl").fingerprint() != first


def test_queries_keep_the_contract_of_data_sets(tmp_path: Path) -> None:
    path = write(tmp_path, [*ROWS, {"id": "d", "image": "gone.png"}])
    check_dataset("queries", {"path": str(path), "on_bad_item": "skip"})
    spec = default_host().resolve(DatasetSpec, "queries")
    assert spec.content == "queries"


def test_queries_are_not_evaluated_by_themselves(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"holds queries, which go with tuples \(--queries\)"):
        editkit.evaluate("safeground", model="demo", data=f"queries:{write(tmp_path, ROWS)}")


def test_neutral_queries_are_each_there_once() -> None:
    found = neutral_queries("prompts", ["a cat", "a dog", "a cat"])
    assert found.texts == ("a cat", "a dog") and set(found.kinds) == {"neutral"}


# Slices of tuples


def test_a_table_of_tuples_may_name_slices(tmp_path: Path) -> None:
    rows = [
        {"safe_text": "a cat", "unsafe_text": "a gun", "slice": " wording: typo "},
        {"safe_text": "a dog", "unsafe_text": "a knife"},
        {"safe_text": "a cow", "unsafe_text": "a bomb", "slice": "cue: tone"},
    ]
    data = Pairs(PairsOptions(path=write(tmp_path, rows, "tuples.jsonl"))).load("test")
    assert [item.slice for item in data.items] == ["wording: typo", "", "cue: tone"]
    assert data.slices == ("wording: typo", "cue: tone")
    assert data.select(limit=2).slices and data.select(per_concept=1).items[0] in data.items


def test_an_element_of_visu_may_name_its_slice() -> None:
    element = {"incremental_id": 1, "coco_id": 2, "safe": "a cat", "nsfw": "a gun"}
    assert parse_element(element).slice == "" and parse_element({**element, "slice": "cue: tone"}).slice == "cue: tone"


def test_a_slice_tells_data_apart_and_no_slice_leaves_the_fingerprint_as_it_was() -> None:
    def one(part: str) -> str:
        return TupleSet("t", "test", (Item("1", None, None, "a cat", "a gun", "weapons", part),)).fingerprint()

    before_there_were_slices = "22a49ae11e711a88cd05e4ae90459cb3543b0ed1aa9c592367e610946114b29d"
    assert one("") == before_there_were_slices
    assert one("wording: typo") != one("")
