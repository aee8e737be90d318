"""ViSU as it is found in the wild: three JSON variants, two COCO layouts, missing images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from editkit.data.options import VisuOptions
from editkit.data.tuples import TupleSet
from editkit.data.visu import Visu
from editkit.errors import DataError


def element(number: int, **changes: Any) -> dict[str, Any]:
    base = {
        "incremental_id": number,
        "safe": f"a cat {number}",
        "nsfw": f"a gun {number}",
        "coco_id": 1000 + number,
        "tag": "weapons",
        "prompt_id": 0,
    }
    return {**base, **changes}


def save_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def safe_path(root: Path, number: int) -> Path:
    return root / "coco" / "val2017" / f"{1000 + number:012d}.jpg"


def unsafe_path(root: Path, number: int) -> Path:
    return root / "unsafe" / "test" / "sd-ntsw" / "unsafe" / "original" / str(number) / "0.jpg"


def write(root: Path, content: Any, split: str = "test") -> None:
    (root / f"ViSU-Text_{split}.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four tuples with all their images."""
    write(tmp_path, [element(number) for number in range(4)])
    for number in range(4):
        save_image(safe_path(tmp_path, number))
        save_image(unsafe_path(tmp_path, number))
    return tmp_path


def load(path: Path, split: str = "test", **options: Any) -> TupleSet:
    return Visu(VisuOptions(path=path, **options)).load(split)


def refusal(path: Path, split: str = "test", **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, split, **options)
    assert len(str(error.value).splitlines()) == 2
    return error.value


def test_a_tuple_has_its_captions_images_and_concept(root: Path) -> None:
    data = load(root)
    item = data.items[2]
    assert (item.id, item.safe_text, item.unsafe_text, item.concept) == ("2", "a cat 2", "a gun 2", "weapons")
    assert (item.safe_image, item.unsafe_image) == (safe_path(root, 2), unsafe_path(root, 2))
    assert (data.name, data.split, data.left_out) == ("visu", "test", ())


ELEMENTS = [element(number) for number in range(4)]
VARIANTS = {
    "list": ELEMENTS,
    "object by index": {str(number): value for number, value in enumerate(ELEMENTS)},
    "info and data": {"info": {"version": 1}, "data": ELEMENTS},
    "info and data by index": {"info": {}, "data": {str(number): value for number, value in enumerate(ELEMENTS)}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_of_the_file_read_the_same(root: Path, variant: str) -> None:
    plain = load(root)
    write(root, VARIANTS[variant])
    assert load(root) == plain


def test_captions_of_other_types_become_text_and_missing_ones_empty(root: Path) -> None:
    values = [1984, None, float("nan"), True]
    write(root, [element(number, safe=value) for number, value in enumerate(values)])
    data = load(root)
    assert [item.safe_text for item in data.items] == ["1984", "", "", "True"]
    assert [item.has_texts for item in data.items] == [True, False, False, True]


def test_tags_are_compared_without_case_and_unknown_ones_kept(root: Path) -> None:
    tags = ["Bodily Bluids", "bodily fluids", "child abuse", "Space  Weather"]
    write(root, [element(number, tag=tag) for number, tag in enumerate(tags)])
    data = load(root)
    assert [item.concept for item in data.items] == ["bodily bluids", "bodily bluids", "abuse", "space weather"]
    for asked in ("bodily fluids", "Bodily bluids"):
        assert len(data.select(concepts=[asked]).items) == 2
    assert len(data.select(concepts=["Child Abuse", "space weather"]).items) == 2


@pytest.mark.parametrize(
    "name",
    [
        "000000001001.jpg",
        "train/000000001001.jpg",
        "COCO_val2014_000000001001.jpg",
        "a/COCO_train2014_000000001001.jpg",
    ],
)
def test_coco_images_are_found_at_any_depth_under_both_names(root: Path, name: str) -> None:
    safe_path(root, 1).unlink()
    moved = save_image(root / "coco" / name)
    assert load(root).items[1].safe_image == moved


def test_of_two_coco_files_the_one_named_like_the_split_is_taken(root: Path) -> None:
    save_image(root / "coco" / "another" / safe_path(root, 1).name)
    chosen = save_image(root / "coco" / "test" / safe_path(root, 1).name)
    assert load(root).items[1].safe_image == chosen
    assert load(root).items[0].safe_image == safe_path(root, 0)


def test_linked_folders_are_followed_once(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "coco").rename(elsewhere / "coco")
    (root / "coco").mkdir()
    (root / "coco" / "images").symlink_to(elsewhere / "coco")
    (elsewhere / "coco" / "loop").symlink_to(elsewhere / "coco")
    assert load(root).left_out == ()


def test_roots_and_pattern_are_options(root: Path) -> None:
    (root / "coco").rename(root / "photos")
    for number in range(4):
        save_image(root / "generated" / f"test-{number}-{1000 + number}.png")
    pattern = "{split}-{incremental_id}-{coco_id}.png"
    data = load(root, coco=root / "photos", unsafe=root / "generated", unsafe_pattern=pattern)
    assert data.items[3].unsafe_image == root / "generated" / "test-3-1003.png"


@pytest.mark.parametrize(
    "pattern", ["0.jpg", "{split}/0.jpg", "{id}/0.jpg", "{incremental_id.real}", "{incremental_id"]
)
def test_a_pattern_that_cannot_name_each_item_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        VisuOptions(path=Path(), unsafe_pattern=pattern)


def test_one_json_file_is_its_own_split(root: Path) -> None:
    data = load(root / "ViSU-Text_test.json", "train")
    assert (data.split, len(data.items)) == ("test", 4)


def test_a_missing_image_is_noted_and_its_captions_stay(root: Path) -> None:
    safe_path(root, 1).unlink()
    unsafe_path(root, 3).unlink()
    data = load(root)
    assert [item.has_images for item in data.items] == [True, False, True, False]
    assert [item.has_texts for item in data.items] == [True] * 4
    assert [(entry.id, entry.reason.split(":")[0]) for entry in data.left_out] == [
        ("1", "safe image missing"),
        ("3", "unsafe image missing"),
    ]
    assert "000000001001.jpg" in data.left_out[0].reason
    assert [item.id for item in data.whole().items] == ["0", "2"]
    assert data.whole().left_out == data.left_out


def test_a_missing_image_is_an_error_where_asked(root: Path) -> None:
    unsafe_path(root, 3).unlink()
    problem = refusal(root, on_bad_item="error").problem
    assert str(unsafe_path(root, 3)) in problem


def test_more_than_half_missing_names_the_roots(root: Path) -> None:
    for number in range(3):
        unsafe_path(root, number).unlink()
    error = refusal(root)
    assert "3 of 4 items" in error.problem
    assert str(root / "coco") in error.remedy
    assert str(root / "unsafe") in error.remedy


def test_an_absent_image_folder_says_how_to_name_it(root: Path) -> None:
    (root / "coco").rename(root / "photos")
    assert "--set data.coco=DIR" in refusal(root).remedy


def test_captions_alone_serve_the_text_tower(tmp_path: Path) -> None:
    write(tmp_path, ELEMENTS)
    data = load(tmp_path, images=False)
    assert data.has_texts
    assert not data.has_images
    assert data.left_out == ()


def test_an_unusable_element_is_left_out_or_an_error(root: Path) -> None:
    broken = {key: value for key, value in element(1).items() if key != "nsfw"}
    more = [element(number) for number in (1, 5, 6, 7)]
    write(root, [element(0), broken, "text", element(2), element(3), element(0), element(4, coco_id="x"), *more])
    data = load(root, images=False)
    assert [item.id for item in data.items] == ["0", "2", "3", "1", "5", "6", "7"]
    assert [entry.id for entry in data.left_out] == ["element 2", "element 3", "element 6", "element 7"]


def test_an_unusable_element_is_an_error_where_asked(root: Path) -> None:
    write(root, [element(0), {"safe": "a cat"}, element(2)])
    assert "element 2': no field 'incremental_id'" in refusal(root, on_bad_item="error").problem


def test_an_absent_split_is_refused_with_those_there(root: Path) -> None:
    error = refusal(root, "tset")
    assert "Did you mean 'test'?" in error.problem
    assert "Splits there: test." in error.remedy


def test_a_folder_without_visu_files_is_refused(tmp_path: Path) -> None:
    assert "ViSU-Text_test.json" in refusal(tmp_path).problem
    assert "ViSU-Text_test.json" in refusal(tmp_path / "absent").problem


@pytest.mark.parametrize(
    ("content", "reason"), [("[", "cannot be read"), ("[]", "no elements"), ("{}", "no elements"), ("3", "holds a int")]
)
def test_a_file_that_is_no_visu_file_is_refused(root: Path, content: str, reason: str) -> None:
    (root / "ViSU-Text_test.json").write_text(content)
    assert reason in refusal(root).problem
