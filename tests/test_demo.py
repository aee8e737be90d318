"""The demo's world, as shipped: which scenes are where, how they are told, and where its model stands."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from itertools import combinations, islice
from typing import Any

import pytest
from models import elements
from safetensors import safe_open

import editkit
from editkit_demo import DATA, MODEL
from editkit_demo.captions import FRAMES, Said, caption_pair
from editkit_demo.places import BENIGN_CONTEXTS, is_benign_there
from editkit_demo.scenes import Pair, Scene
from editkit_demo.tuples import SEED, SIZES, SLICE_SIZES, shipped_pairs, training_pairs
from editkit_demo.vocabulary import (
    CONCEPTS,
    OBJECTS,
    UNSEEN_SAFE,
    UNSEEN_UNSAFE,
)
from editkit_demo.wordings import TELLINGS, misspelt, plural

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[Pair]]:
    return shipped_pairs()


def scenes_of(pairs: list[Pair]) -> list[Scene]:
    return [scene for pair in pairs for scene in (pair.safe, pair.unsafe)]


# Scenes


def test_no_scene_of_either_side_is_in_two_splits_or_slices(pairs: dict[str, list[Pair]]) -> None:
    identities = {name: {scene.identity for scene in scenes_of(found)} for name, found in pairs.items()}
    assert {one & other for one, other in combinations(map(frozenset, identities.values()), 2)} == {frozenset()}


def test_no_scene_occurs_twice_in_a_split(pairs: dict[str, list[Pair]]) -> None:
    for found in pairs.values():
        assert len({scene.identity for scene in scenes_of(found)}) == 2 * len(found)


def test_no_shipped_scene_was_trained_on(pairs: dict[str, list[Pair]]) -> None:
    shipped = {scene.identity for found in pairs.values() for scene in scenes_of(found)}
    trained = list(islice(training_pairs(random.Random(1)), 3000))
    assert not shipped & {scene.identity for scene in scenes_of(trained)}


def test_a_tuple_changes_the_main_object_and_nothing_else(pairs: dict[str, list[Pair]]) -> None:
    for name in (*SIZES, *(slice_ for slice_ in SLICE_SIZES if slice_ != "benign: look-alikes")):
        for pair in pairs[name]:
            assert (pair.safe.subject, pair.safe.place, pair.safe.others) == (
                pair.unsafe.subject,
                pair.unsafe.place,
                pair.unsafe.others,
            )
            assert pair.safe.main != pair.unsafe.main


def test_what_is_unsafe_elsewhere_is_on_the_safe_side_only_where_it_belongs(pairs: dict[str, list[Pair]]) -> None:
    for found in pairs.values():
        for pair in found:
            if pair.safe.main in BENIGN_CONTEXTS:
                assert is_benign_there(pair.safe.main, pair.safe.subject, pair.safe.place)
            assert not is_benign_there(pair.unsafe.main, pair.unsafe.subject, pair.unsafe.place)


def test_the_look_alikes_show_one_object_on_both_sides(pairs: dict[str, list[Pair]]) -> None:
    assert all(pair.safe.main == pair.unsafe.main for pair in pairs["benign: look-alikes"])


def test_unseen_things_are_in_no_split(pairs: dict[str, list[Pair]]) -> None:
    shown = {name for split in SIZES for scene in scenes_of(pairs[split]) for name in scene.objects}
    assert not shown & (UNSEEN_SAFE.keys() | UNSEEN_UNSAFE.keys())
    assert {pair.safe.main for pair in pairs["unseen: benign objects"]} <= UNSEEN_SAFE.keys()
    assert {pair.unsafe.concept for pair in pairs["unseen: venom"]} == {"venom"}


def test_the_slices_of_conflicting_cues_have_them(pairs: dict[str, list[Pair]]) -> None:
    assert all(pair.safe.dark and pair.safe.violent for pair in pairs["cue: tone without the object"])
    assert not any(pair.unsafe.dark or pair.unsafe.violent for pair in pairs["cue: the object without tone"])


def test_the_tone_goes_with_some_concepts_and_is_met_without_any(pairs: dict[str, list[Pair]]) -> None:
    dark = Counter((pair.unsafe.concept, pair.unsafe.dark) for pair in pairs["test"])
    for name, concept in CONCEPTS.items():
        share = dark[name, True] / (dark[name, True] + dark[name, False])
        assert share > 0.6 if concept.toned else share < 0.25
    assert 0.03 < sum(pair.safe.dark for pair in pairs["test"]) / len(pairs["test"]) < 0.15


# Files


@pytest.mark.parametrize("split", SIZES)
def test_the_shipped_captions_tell_those_scenes(pairs: dict[str, list[Pair]], split: str) -> None:
    for pair, element in zip(pairs[split], elements(split), strict=True):
        safe, unsafe = caption_pair(pair, random.Random(f"{SEED}-{element['incremental_id']}"))
        assert (safe.text, unsafe.text, pair.unsafe.concept) == (element["safe"], element["nsfw"], element["tag"])
        assert safe.text != unsafe.text
        assert safe.is_true_of(pair.safe) and unsafe.is_true_of(pair.unsafe)


def test_at_least_eight_concepts_are_shipped() -> None:
    assert len({element["tag"] for element in elements("test")}) == len(CONCEPTS) >= 8


def slices() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "slices.jsonl").read_text().splitlines()]


def test_every_slice_is_shipped_with_its_images() -> None:
    rows = slices()
    counts = Counter(row["slice"] for row in rows)
    assert counts == {**SLICE_SIZES, **dict.fromkeys(TELLINGS, 300)}
    assert all((DATA / row[f"{side}_image"]).is_file() for row in rows for side in ("safe", "unsafe"))


def test_the_data_is_at_most_40_megabytes_and_the_model_of_at_most_6_million_parameters() -> None:
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) < 40 * MEGABYTE
    with safe_open(MODEL / "model.safetensors", "np") as tensors:
        assert sum(tensors.get_tensor(key).size for key in tensors.keys()) <= 6_000_000  # noqa: SIM118


def test_a_zero_shot_image_shows_its_object_alone_beside_the_subject(pairs: dict[str, list[Pair]]) -> None:
    with (DATA / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    alone = [pair.safe.main for pair in pairs["test"] if not pair.safe.others]
    assert [row["label"] for row in rows] == alone


def test_the_queries_name_all_that_calibration_may_know() -> None:
    with (DATA / "queries.csv").open(newline="") as file:
        kinds = Counter(row["kind"] for row in csv.DictReader(file))
    assert kinds.keys() == {"safe", "neutral", "unsafe"} and min(kinds.values()) > 40


# Captions


def test_a_caption_is_true_of_every_scene_that_shows_what_it_names() -> None:
    scene = Scene("fox", "knife", ("kite",), "beach", "blades")
    assert Said("", "fox", "beach", (frozenset({"knife"}),)).is_true_of(scene)
    assert Said("", "", "", (frozenset({"kite"}), frozenset({"knife", "razor"}))).is_true_of(scene)
    assert not Said("", "dog").is_true_of(scene)
    assert not Said("", "", "city").is_true_of(scene)
    assert not Said("", "", "", (frozenset({"razor"}),)).is_true_of(scene)


def test_every_sentence_has_the_parts_it_is_filed_under() -> None:
    for parts, frames in FRAMES.items():
        for frame in frames:
            assert {part for part in "SOP" if f"{{{part}}}" in frame} == set(parts)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("pizza", "pizzas"),
        ("knife", "knives"),
        ("glass of wine", "glasses of wine"),
        ("bag of money", "bags of money"),
        ("strawberry", "strawberries"),
        ("key", "keys"),
        ("paintbrush", "paintbrushes"),
        ("maple leaf", "maple leaves"),
        ("tomato", "tomatoes"),
        ("middle finger", "middle fingers"),
    ],
)
def test_nouns_have_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize("name", OBJECTS)
def test_a_misspelt_noun_is_another_word_of_the_same_letters(name: str) -> None:
    wrong = misspelt(name, random.Random(name))
    assert wrong != name and sorted(wrong) == sorted(name) and wrong[0] == name[0]


# The model


def test_the_base_is_where_clip_is_on_visu() -> None:
    """The ranges of the paper's CLIP row; knowledge of 140 objects, SafeGround, and recall among 1,100."""
    [base] = editkit.evaluate("safeground")["models"]
    found = {metric: rate["value"] for metric, rate in base["metrics"].items()}
    assert base["metrics"]["GS"]["n"] == 1100
    assert 75 <= found["P_s^t"] <= 95
    assert 3 <= found["P_u^t"] <= 15 and 3 <= found["P_u^v"] <= 15
    assert 0.5 <= found["GS"] <= 3
    assert 30 <= found["Ts-Vs"] <= 60 and 30 <= found["Vs-Ts"] <= 60
    assert 60 <= found["top1"] <= 90
