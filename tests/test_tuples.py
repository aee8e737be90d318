"""Tuples: the draw, what is whole, and the digests that tell sets apart."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from editkit.data.classes import Classes
from editkit.data.options import ClassesOptions, PairsOptions
from editkit.data.pairs import Pairs
from editkit.data.readers.images import ImageBytes
from editkit.data.tuples import Item, LeftOut, TupleSet
from editkit.errors import DataError
from editkit.files.digests import file_key

CONCEPTS = ("weapons", "drug use", "blood")


def caption_item(identifier: str, concept: str = "weapons") -> Item:
    return Item(identifier, None, None, f"a cat {identifier}", f"a gun {identifier}", concept)


def caption_set(items: list[Item]) -> TupleSet:
    return TupleSet("pets", "train", tuple(items))


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30)) -> Path:
    Image.new("RGB", (8, 8), colour).save(path)
    return path


@st.composite
def caption_sets(draw: st.DrawFn) -> TupleSet:
    ids = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=30, unique=True))
    return caption_set([caption_item(name, draw(st.sampled_from(CONCEPTS))) for name in ids])


limits = st.none() | st.integers(1, 40)
seeds = st.integers(-5, 5)


@given(caption_sets(), limits, limits, seeds)
def test_the_same_seed_draws_the_same_tuples(data: TupleSet, limit: int, per_concept: int, seed: int) -> None:
    assert data.select(None, limit, per_concept, seed) == data.select(None, limit, per_concept, seed)


@given(caption_sets(), limits, limits, seeds)
def test_a_draw_is_a_subset_in_file_order(data: TupleSet, limit: int, per_concept: int, seed: int) -> None:
    drawn = data.select(None, limit, per_concept, seed).items
    assert drawn == tuple(item for item in data.items if item in drawn)


@given(caption_sets(), st.integers(1, 40), seeds)
def test_a_limit_is_met_exactly_or_keeps_all(data: TupleSet, limit: int, seed: int) -> None:
    assert len(data.select(limit=limit, seed=seed).items) == min(limit, len(data.items))


@given(caption_sets(), limits, limits, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_draw(
    data: TupleSet, limit: int, per_concept: int, seed: int, rng: random.Random
) -> None:
    shuffled = caption_set(rng.sample(data.items, len(data.items)))
    drawn = data.select(None, limit, per_concept, seed)
    again = shuffled.select(None, limit, per_concept, seed)
    assert set(drawn.items) == set(again.items)
    assert drawn.fingerprint() == again.fingerprint()


@given(caption_sets(), limits, st.integers(1, 20), st.integers(0, 20), seeds)
def test_a_larger_limit_keeps_what_a_smaller_one_drew(
    data: TupleSet, per_concept: int, limit: int, more: int, seed: int
) -> None:
    small = data.select(None, limit, per_concept, seed)
    assert set(small.items) <= set(data.select(None, limit + more, per_concept, seed).items)


@given(caption_sets(), st.integers(1, 10), seeds)
def test_no_concept_exceeds_its_share(data: TupleSet, per_concept: int, seed: int) -> None:
    drawn = data.select(per_concept=per_concept, seed=seed)
    for concept in data.concepts:
        there = sum(item.concept == concept for item in data.items)
        assert sum(item.concept == concept for item in drawn.items) == min(per_concept, there)


def test_seeds_draw_different_tuples() -> None:
    data = caption_set([caption_item(str(number)) for number in range(1000)])
    first, second = (set(data.select(limit=100, seed=seed).items) for seed in (0, 1))
    assert len(first & second) < 40


def test_the_draw_is_the_same_on_every_machine() -> None:
    data = caption_set([caption_item(str(number)) for number in range(100)])
    assert [item.id for item in data.select(limit=5, seed=0).items] == ["15", "44", "46", "87", "99"]


def test_concepts_are_found_whatever_their_case() -> None:
    data = caption_set([caption_item("1", "Drug Use"), caption_item("2", "blood")])
    assert [item.id for item in data.select(concepts=["drug  use"]).items] == ["1"]


def test_an_unknown_concept_is_refused_with_the_known_ones() -> None:
    data = caption_set([caption_item("1", "weapons"), caption_item("2", "blood")])
    with pytest.raises(DataError) as refusal:
        data.select(concepts=["wepons"])
    assert "Did you mean 'weapons'?" in refusal.value.problem
    assert "blood, weapons" in refusal.value.remedy


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="limit is 0"):
        caption_set([caption_item("1")]).select(limit=0)


def test_an_empty_set_leaves_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="No tuple of pets"):
        caption_set([]).select()


def test_a_draw_forgets_what_was_noted_of_tuples_it_passed_over() -> None:
    data = TupleSet("pets", "train", (caption_item("1"), caption_item("2", "blood")), (LeftOut("1", "no image"),))
    assert data.select(concepts=["weapons"]).left_out == (LeftOut("1", "no image"),)
    assert data.select(concepts=["blood"]).left_out == ()


def test_whole_keeps_complete_tuples_and_names_the_others_once(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    items = (
        Item("1", image, image, "a cat", "a gun", "weapons"),
        Item("2", image, None, "a cat", "a gun", "weapons"),
        Item("3", image, image, "", "a gun", "weapons"),
    )
    data = TupleSet("pets", "test", items, (LeftOut("2", "unsafe image missing: b.png"),)).whole()
    assert [item.id for item in data.items] == ["1"]
    assert [entry.id for entry in data.left_out] == ["2", "3"]
    assert data.left_out[1].reason == "safe caption missing or empty"
    assert data.whole() == data


def test_captions_alone_are_not_whole() -> None:
    data = caption_set([caption_item("1")])
    assert data.has_texts
    assert not data.has_images
    with pytest.raises(DataError, match="images are missing"):
        data.whole()


def test_digests_depend_on_captions_and_image_bytes_only(tmp_path: Path) -> None:
    red, blue = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", (0, 0, 255))
    copy = tmp_path / "copy.png"
    copy.write_bytes(red.read_bytes())
    items = [
        Item("1", red, blue, "a cat", "a gun", "weapons"),
        Item("2", copy, ImageBytes(blue.read_bytes(), "row 2"), "a cat", "a gun", "blood"),
        Item("3", blue, red, "a cat", "a gun", "weapons"),
        Item("4", red, blue, "a dog", "a gun", "weapons"),
        Item("5", None, blue, "a cat", "a gun", "weapons"),
    ]
    digests = caption_set(items).digests()
    assert all(len(digest) == 12 for digest in digests)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_a_fingerprint_knows_ids_concepts_and_content() -> None:
    base = caption_set([caption_item("1"), caption_item("2")])
    changed = [
        [caption_item("1")],
        [caption_item("1"), caption_item("3")],
        [caption_item("1"), caption_item("2", "blood")],
        [caption_item("1"), Item("2", None, None, "a cat 2", "a knife", "weapons")],
    ]
    prints = {base.fingerprint(), *(caption_set(items).fingerprint() for items in changed)}
    assert len(prints) == 5


def test_remembered_digests_spare_the_reading_of_unchanged_files(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    data = caption_set([Item("1", image, image, None, None, "all")])
    remembered: dict[str, str] = {}
    honest = data.digests(remembered)
    assert len(remembered) == 1
    key = next(iter(remembered))
    remembered[key] = "0" * 64
    assert data.digests(remembered) != honest
    image.write_bytes(image.read_bytes() + b"changed")
    changed = data.digests(remembered)
    assert changed not in (honest, data.digests({file_key(image): "0" * 64}))
    assert len(remembered) == 2


def test_an_image_that_vanished_is_named(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    data = caption_set([Item("1", image, image, None, None, "all")])
    image.unlink()
    with pytest.raises(DataError, match=r"a\.png does not exist"):
        data.digests()


def test_data_sets_are_importable_without_torch_numpy_or_pillow() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'pyarrow', 'yaml'}"
    modules = "from editkit.data import visu, pairs, classes, tuples, options; from editkit.data.readers import images"
    code = f"import sys; {modules}; assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_the_tables_and_the_class_file_of_the_data_page_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    for name, content in re.findall(r'```\w+ title="(.+?)"\n(.+?)```', page, re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for name in ("k1-safe", "k1-unsafe", "k2-safe", "k2-unsafe"):
        picture(tmp_path / "images" / f"{name}.jpg")
    table, lines, images = (
        Pairs(PairsOptions(path=tmp_path / name)).load("train") for name in ("tuples.csv", "tuples.jsonl", "images.csv")
    )
    assert table.items == lines.items == table.whole().items
    assert len(images.items) == 2
    assert not images.has_texts
    assert Classes(ClassesOptions(path=tmp_path / "kitchen.yaml")).load("test").labels == (0, 1)
