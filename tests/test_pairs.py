"""Tables of tuples: three file formats, one meaning; and every way in which a table can be wrong."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from editkit.data.options import PairsOptions
from editkit.data.pairs import Pairs
from editkit.data.readers import hub_table
from editkit.data.readers.images import ImageBytes, open_rgb
from editkit.data.tuples import Item, LeftOut, TupleSet
from editkit.errors import DataError, InstallError

Rows = Sequence[dict[str, Any]]
CAPTIONS = [
    {"id": "007", "safe_text": "a cat", "unsafe_text": "a gun", "concept": "weapons"},
    {"id": "8", "safe_text": "NA", "unsafe_text": "blood, on a wall", "concept": "blood"},
]
IMAGES = [{"safe_image": f"images/{n}.png", "unsafe_image": f"images/u{n}.png"} for n in (1, 2, 3)]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Rows) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


WRITERS = {".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}


@pytest.fixture(params=WRITERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(folder: Path, rows: Rows, suffix: str = ".jsonl") -> Path:
    path = folder / f"tuples{suffix}"
    WRITERS[suffix](path, rows)
    return path


def write_images(folder: Path, rows: Rows) -> None:
    for row in rows:
        for path in (folder / row["safe_image"], folder / row["unsafe_image"]):
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)


def load(path: Path | str, split: str = "train", **options: Any) -> TupleSet:
    return Pairs(PairsOptions(path=path, **options)).load(split)


def refusal(path: Path | str, **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, **options)
    assert len(str(error.value).splitlines()) == 2
    return error.value


def test_the_three_formats_give_the_same_tuples(tmp_path: Path, suffix: str) -> None:
    data = load(write(tmp_path, CAPTIONS, suffix))
    assert data.items == (
        Item("007", None, None, "a cat", "a gun", "weapons"),
        Item("8", None, None, "NA", "blood, on a wall", "blood"),
    )
    assert data.name == f"pairs:tuples{suffix}"


def test_image_paths_are_relative_to_the_table(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, IMAGES)
    data = load(write(tmp_path, IMAGES, suffix))
    assert data.items[0].safe_image == tmp_path / "images" / "1.png"
    assert data.has_images
    assert not data.has_texts


def test_id_defaults_to_the_row_number_and_concept_to_all(tmp_path: Path, suffix: str) -> None:
    rows = [{key: row[key] for key in ("safe_text", "unsafe_text")} for row in CAPTIONS]
    data = load(write(tmp_path, rows, suffix))
    assert [item.id for item in data.items] == ["1", "2"]
    assert data.concepts == ("all",)


def test_columns_of_no_meaning_here_are_passed_over(tmp_path: Path, suffix: str) -> None:
    data = load(write(tmp_path, [{**row, "note": "mine"} for row in CAPTIONS], suffix))
    assert len(data.items) == 2


def test_numbers_are_captions_too(tmp_path: Path) -> None:
    data = load(write(tmp_path, [{"id": 3, "safe_text": 1984, "unsafe_text": "a gun"}]))
    assert data.items == (Item("3", None, None, "1984", "a gun", "all"),)


def test_a_path_may_name_the_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", CAPTIONS[:1])
    write_jsonl(tmp_path / "train.jsonl", CAPTIONS)
    data = load(str(tmp_path / "{split}.jsonl"), "test")
    assert (data.split, len(data.items)) == ("test", 1)
    assert load(tmp_path / "train.jsonl", "test").split == "all"


def test_parquet_may_hold_the_images_themselves(tmp_path: Path) -> None:
    write_images(tmp_path, IMAGES)
    content = (tmp_path / "images" / "1.png").read_bytes()
    rows = [{"safe_image": content, "unsafe_image": {"bytes": content, "path": "1.png"}}]
    (item,) = load(write(tmp_path, rows, ".parquet")).items
    assert item.safe_image == ImageBytes(content, "tuples.parquet, row 1, safe_image")
    assert item.unsafe_image is not None
    assert open_rgb(item.unsafe_image).size == (4, 4)


def test_only_safe_items_are_refused(tmp_path: Path, suffix: str) -> None:
    error = refusal(write(tmp_path, [{"safe_text": "a cat", "concept": "pets"}], suffix))
    assert "safe_text but not unsafe_text (columns found: safe_text, concept)" in error.problem
    assert "unsafe partner" in error.remedy


def test_a_misspelt_column_is_guessed(tmp_path: Path, suffix: str) -> None:
    error = refusal(write(tmp_path, [{"safe_text": "a cat", "unsafe_txt": "a gun"}], suffix))
    assert "Did you mean 'unsafe_txt'?" in error.problem


def test_a_table_without_any_pair_is_refused_with_its_columns(tmp_path: Path, suffix: str) -> None:
    error = refusal(write(tmp_path, [{"caption": "a cat", "url": "b"}], suffix))
    assert "columns found: caption, url" in error.problem


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "has no rows" in refusal(tmp_path / name).problem


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "header.csv").write_text("safe_text,unsafe_text\n")
    assert "has no rows" in refusal(tmp_path / "header.csv").problem
    schema = pyarrow.schema([("safe_text", pyarrow.string())])
    parquet.write_table(schema.empty_table(), tmp_path / "header.parquet")
    assert "has no rows" in refusal(tmp_path / "header.parquet").problem


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_cell_is_refused_with_its_row(tmp_path: Path, suffix: str, blank: str) -> None:
    rows = [CAPTIONS[0], {**CAPTIONS[1], "unsafe_text": blank}]
    assert "row 2: unsafe_text is empty" in refusal(write(tmp_path, rows, suffix)).problem


@pytest.mark.parametrize("blank", [None, float("nan")])
def test_null_and_nan_are_empty_cells(tmp_path: Path, blank: object) -> None:
    rows: Rows = [CAPTIONS[0], {**CAPTIONS[1], "unsafe_text": blank}]
    assert "row 2: unsafe_text is empty" in refusal(write(tmp_path, rows)).problem


def test_a_missing_image_is_named(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, IMAGES)
    (tmp_path / "images" / "u2.png").unlink()
    problem = refusal(write(tmp_path, IMAGES, suffix)).problem
    assert "row 2: unsafe image missing" in problem
    assert "u2.png" in problem


def test_skipping_keeps_captions_of_rows_that_lack_an_image(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, IMAGES)
    (tmp_path / "images" / "u2.png").unlink()
    rows = [{**row, "safe_text": "a cat", "unsafe_text": "a gun"} for row in IMAGES]
    data = load(write(tmp_path, rows, suffix), on_bad_item="skip")
    assert [item.has_images for item in data.items] == [True, False, True]
    assert [item.has_texts for item in data.items] == [True, True, True]
    assert data.left_out == (LeftOut("2", f"unsafe image missing: {tmp_path / 'images' / 'u2.png'}"),)


def test_skipping_drops_rows_of_which_nothing_is_left(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, IMAGES)
    (tmp_path / "images" / "2.png").unlink()
    data = load(write(tmp_path, IMAGES, suffix), on_bad_item="skip")
    assert [item.id for item in data.items] == ["1", "3"]
    assert [entry.id for entry in data.left_out] == ["2"]


def test_more_than_half_missing_is_refused_even_when_skipping(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path, IMAGES)
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "images" / "u2.png").unlink()
    assert "2 of 3 items cannot be used" in refusal(write(tmp_path, IMAGES, suffix), on_bad_item="skip").problem


def test_two_rows_of_the_same_id_are_refused(tmp_path: Path, suffix: str) -> None:
    rows = [{**row, "id": "x"} for row in CAPTIONS]
    assert "rows 1 and 2 have the same id 'x'" in refusal(write(tmp_path, rows, suffix)).problem


def test_a_cell_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    rows = [{"safe_text": ["a cat", "a dog"], "unsafe_text": "a gun"}]
    assert "row 1: safe_text is a list, not a text" in refusal(write(tmp_path, rows)).problem


@pytest.mark.parametrize("name", ["tuples.xlsx", "tuples"])
def test_an_unknown_extension_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert ".jsonl, .csv, .parquet" in refusal(tmp_path / name).remedy


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    assert "There is no table" in refusal(tmp_path / "absent.csv").problem


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"safe_text": "a"}\n{"safe_text"', "line 2"),
        ("a.jsonl", b"[1, 2]", "line 1 is not an object"),
        ("a.jsonl", b'{"safe_text": "\xff"}', "utf-8"),
        ("a.csv", b"safe_text,unsafe_text\na,b,c\n", "line 2 has more cells"),
        ("a.csv", b"safe_text,safe_text\na,b\n", "occurs twice"),
        ("a.csv", b"\xff\xfe\x00", "utf-8"),
        ("a.parquet", b"PAR1 but no more", "magic bytes"),
    ],
)
def test_an_unreadable_table_is_refused_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert reason in refusal(tmp_path / name).problem


class FakeHub(ModuleType):
    """Stands in for the optional library `datasets`: what `hub.py` uses of it, on rows given here."""

    class Image:
        def __init__(self, *, decode: bool = True) -> None:
            self.decode = decode

    class Data(list[dict[str, Any]]):
        column_names = ("safe_image", "unsafe_image")

        def __init__(self, rows: Rows) -> None:
            super().__init__(rows)
            self.features: dict[str, object] = {name: FakeHub.Image() for name in self.column_names}

        def cast_column(self, column: str, feature: FakeHub.Image) -> FakeHub.Data:
            assert not feature.decode
            self.features = {**self.features, column: feature}
            return self

    def __init__(self, rows: Rows) -> None:
        super().__init__("datasets")
        self.rows = rows

    def load_dataset(self, name: str, split: str) -> FakeHub.Data:
        if split != "train":
            raise ValueError(f"Unknown split {split}.\nShould be one of ['train'].")
        return self.Data(self.rows)


@pytest.fixture
def no_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of the hub that is stored in another form than Parquet files."""
    monkeypatch.setattr(hub_table, "split_files", lambda name, split, where: [])


@pytest.mark.usefixtures("no_parquet")
def test_a_hugging_face_data_set_keeps_its_images_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, IMAGES)
    content = (tmp_path / "images" / "1.png").read_bytes()
    cell = {"bytes": content, "path": None}
    monkeypatch.setitem(sys.modules, "datasets", FakeHub([{"safe_image": cell, "unsafe_image": cell}]))
    data = load("hf:someone/pairs")
    assert data.name == "pairs:hf:someone/pairs"
    assert data.split == "train"
    assert data.items[0].safe_image == ImageBytes(content, "hf:someone/pairs, row 1, safe_image")


@pytest.mark.usefixtures("no_parquet")
def test_what_the_hub_refuses_is_told_in_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", FakeHub([]))
    with pytest.raises(DataError, match="Unknown split test") as error:
        load("hf:someone/pairs", "test")
    assert len(str(error.value).splitlines()) == 2
    assert "has no rows" in refusal("hf:someone/pairs").problem


@pytest.mark.usefixtures("no_parquet")
def test_without_the_hub_library_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InstallError, match="pip install datasets"):
        load("hf:someone/pairs")
