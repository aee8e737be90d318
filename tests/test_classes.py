"""Zero-shot sets: a YAML file with names and a template, and images from a table or from folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from editkit.data.classes import Classes, ClassSet
from editkit.data.options import ClassesOptions
from editkit.errors import DataError

BASE = {"name": "pets", "classes": ["cat", "small_dog"], "template": "a photo of a {}.", "table": "pets.csv"}


def save_image(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), level).save(path)


def write(place: Path, rows: str = "image,label\na.png,cat\nb.png,small_dog\n", **changes: Any) -> Path:
    """Write the set with two images; a change to None takes the key away."""
    content = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    (place / "pets.yaml").write_text(yaml.safe_dump(content))
    (place / "pets.csv").write_text(rows)
    save_image(place / "a.png", 1)
    save_image(place / "b.png", 2)
    return place / "pets.yaml"


def load(path: Path | str, split: str = "test", **options: Any) -> ClassSet:
    return Classes(ClassesOptions(path=path, **options)).load(split)


def refusal(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, **options)
    assert len(str(error.value).splitlines()) == 2
    return error.value


def test_a_table_names_each_image_and_its_class(tmp_path: Path) -> None:
    data = load(write(tmp_path, summary="Cats and dogs."))
    assert (data.name, data.summary, data.classes) == ("pets", "Cats and dogs.", ("cat", "small_dog"))
    assert data.images == (tmp_path / "a.png", tmp_path / "b.png")
    assert data.labels == (0, 1)
    assert data.ids == ("a.png", "b.png")


def test_prompts_fill_the_template_and_read_underscores_as_spaces(tmp_path: Path) -> None:
    assert load(write(tmp_path)).prompts() == ("a photo of a cat.", "a photo of a small dog.")


def test_blanks_at_the_ends_of_names_do_not_reach_prompts(tmp_path: Path) -> None:
    data = replace(load(write(tmp_path)), classes=("bee balm ", " colt's  foot"))
    assert data.prompts() == ("a photo of a bee balm.", "a photo of a colt's foot.")


def test_a_label_may_be_an_index(tmp_path: Path) -> None:
    assert load(write(tmp_path, "image,label\na.png,1\nb.png,0\n")).labels == (1, 0)


def test_a_name_wins_over_an_index(tmp_path: Path) -> None:
    path = write(tmp_path, "image,label\na.png,1\nb.png,0\n", classes=["1", "0"])
    assert load(path).labels == (0, 1)


def test_a_json_table_is_as_good(tmp_path: Path) -> None:
    path = write(tmp_path, table="pets.jsonl")
    (tmp_path / "pets.jsonl").write_text('{"image": "a.png", "label": 1}\n{"image": "b.png", "label": "cat"}\n')
    assert load(path).labels == (1, 0)


def test_a_folder_has_a_sub_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/deep/2.jpg", "small_dog/1.webp", ".hidden/1.png"):
        save_image(tmp_path / "images" / name)
    (tmp_path / "images" / "cat" / "notes.txt").touch()
    data = load(write(tmp_path, table=None, folder="images"))
    assert data.ids == ("images/cat/1.png", "images/cat/deep/2.jpg", "images/small_dog/1.webp")
    assert data.labels == (0, 0, 1)


def test_the_same_image_may_occur_twice(tmp_path: Path) -> None:
    assert load(write(tmp_path, "image,label\na.png,cat\na.png,cat\n")).labels == (0, 0)


def test_a_path_may_name_the_split(tmp_path: Path) -> None:
    write(tmp_path).rename(tmp_path / "pets-test.yaml")
    assert load(str(tmp_path / "pets-{split}.yaml")).split == "test"


def numbered(count: int) -> ClassSet:
    images = tuple(Path(f"{number}.png") for number in range(count))
    ids = tuple(str(image) for image in images)
    return ClassSet("numbers", ("odd", "even"), "{}", images, tuple(number % 2 for number in range(count)), ids)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9), st.integers(0, 3))
def test_a_draw_is_nested_in_file_order_and_keeps_labels(count: int, limit: int, more: int, seed: int) -> None:
    data = numbered(count)
    small, large = data.select(limit, seed), data.select(limit + more, seed)
    assert len(small.ids) == min(limit, count)
    assert set(small.ids) <= set(large.ids)
    assert small.ids == tuple(name for name in data.ids if name in small.ids)
    assert all(label == int(name.removesuffix(".png")) % 2 for name, label in zip(small.ids, small.labels, strict=True))
    assert small.images == tuple(Path(name) for name in small.ids)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="limit is 0"):
        numbered(3).select(0)


def test_the_fingerprint_knows_prompts_labels_and_image_bytes(tmp_path: Path) -> None:
    prints = {load(write(tmp_path)).fingerprint()}
    prints.add(load(write(tmp_path, template="a picture of a {}.")).fingerprint())
    prints.add(load(write(tmp_path, classes=["cat", "small_dog", "cow"])).fingerprint())
    prints.add(load(write(tmp_path, "image,label\na.png,cat\nb.png,cat\n")).fingerprint())
    path = write(tmp_path)
    save_image(tmp_path / "b.png", 3)
    prints.add(load(path).fingerprint())
    assert len(prints) == 5
    reordered = load(write(tmp_path, "image,label\nb.png,small_dog\na.png,cat\n"))
    assert reordered.fingerprint() == load(write(tmp_path)).fingerprint()


def test_an_unknown_label_is_refused_with_a_guess(tmp_path: Path) -> None:
    problem = refusal(write(tmp_path, "image,label\na.png,cat\nb.png,smal_dog\n")).problem
    assert "pets.csv, row 2: the label 'smal_dog' is no class of pets.yaml. Did you mean 'small_dog'?" in problem


@pytest.mark.parametrize("label", ["2", "-1", "1.0"])
def test_an_index_out_of_range_is_refused(tmp_path: Path, label: str) -> None:
    assert "an index from 0 to 1" in refusal(write(tmp_path, f"image,label\na.png,{label}\n")).remedy


def test_a_name_of_two_classes_needs_the_index(tmp_path: Path) -> None:
    path = write(tmp_path, classes=["crane", "cat", "crane"], rows="image,label\na.png,crane\n")
    assert "0 or 2" in refusal(path).remedy


def test_a_sub_folder_that_is_no_class_is_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "cats" / "1.png")
    problem = refusal(write(tmp_path, table=None, folder="images")).problem
    assert "the label 'cats' is no class of pets.yaml. Did you mean 'cat'?" in problem


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"template": "a photo"}, "must contain {} once"),
        ({"template": "{} {}"}, "must contain {} once"),
        ({"classes": []}, "the list of classes is empty"),
        ({"classes": None}, "the key 'classes' is missing"),
        ({"classes": ["cat", True]}, "classes.1 is True, not text"),
        ({"table": None}, "either table or folder"),
        ({"folder": "images"}, "either table or folder"),
        ({"tempalte": "a {}"}, "unknown key 'tempalte'. Did you mean 'template'?"),
        ({"table": "absent.csv"}, "There is no table"),
        ({"table": None, "folder": "absent"}, "There is no image folder"),
    ],
)
def test_a_wrong_class_file_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(write(tmp_path, **changes)).problem


@pytest.mark.parametrize(("content", "reason"), [("name: [", "cannot be read"), ("", "no keys"), ("- a", "no keys")])
def test_what_is_no_class_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "pets.yaml").write_text(content)
    assert reason in refusal(tmp_path / "pets.yaml").problem


def test_an_absent_class_file_is_refused(tmp_path: Path) -> None:
    assert "There is no class file" in refusal(tmp_path / "absent.yaml").problem


def test_a_missing_column_is_refused_with_those_there(tmp_path: Path) -> None:
    problem = refusal(write(tmp_path, "image,labels\na.png,cat\n")).problem
    assert "no column label (columns found: image, labels). Did you mean 'labels'?" in problem


def test_an_empty_label_is_refused_with_its_row(tmp_path: Path) -> None:
    assert "row 1: label is empty" in refusal(write(tmp_path, "image,label\na.png,\n")).problem


def test_an_image_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images" / "cat").mkdir(parents=True)
    assert "has no images" in refusal(write(tmp_path, table=None, folder="images")).problem


def test_a_missing_image_is_an_error_or_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "image,label\na.png,cat\nabsent.png,cat\n")
    assert "row 2: image missing" in refusal(path).problem
    data = load(path, on_bad_item="skip")
    assert data.ids == ("a.png",)
    assert [entry.id for entry in data.left_out] == ["absent.png"]


def test_more_than_half_missing_is_refused_even_when_skipping(tmp_path: Path) -> None:
    path = write(tmp_path, "image,label\na.png,cat\nx.png,cat\ny.png,cat\n")
    assert "2 of 3 items" in refusal(path, on_bad_item="skip").problem
