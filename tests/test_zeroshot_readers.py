"""The 17 sets of profile uwm, read from small copies in the layouts in which they are published."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zeroshot_layouts as layouts

from editkit.data.classes import ClassSet
from editkit.data.digests import image_digests
from editkit.data.readers.images import open_rgb
from editkit.data.zeroshot.catalogue import sets_of
from editkit.data.zeroshot.names import imagenet
from editkit.data.zeroshot.options import ZeroshotOptions
from editkit.data.zeroshot.sets import ClassSets, Zeroshot
from editkit.errors import DataError, EditkitError, InstallError

FORMATS = {  # the table of the benchmark's definition: classes, images, template
    "imagenet": (1000, 50_000, "a photo of a {}."),
    "imagenet-v2": (1000, 10_000, "a photo of a {}."),
    "imagenet-r": (200, 30_000, "a photo of a {}."),
    "imagenet-a": (200, 7_500, "a photo of a {}."),
    "imagenet-sketch": (1000, 50_889, "a photo of a {}."),
    "caltech101": (101, 8_677, "a photo of a {}."),
    "pets": (37, 3_669, "a photo of a {}, a type of pet."),
    "food101": (101, 25_250, "a photo of {}, a type of food."),
    "flowers102": (102, 6_149, "a photo of a {}, a type of flower."),
    "cifar10": (10, 10_000, "a photo of a {}."),
    "cifar100": (100, 10_000, "a photo of a {}."),
    "eurosat": (10, 27_000, "a centered satellite photo of {}."),
    "cars": (196, 8_041, "a photo of a {}."),
    "aircraft": (100, 3_333, "a photo of a {}, a type of aircraft."),
    "dtd": (47, 18_800, "a photo of a {} texture."),
    "sun397": (397, 108_754, "a photo of a {}."),
    "ucf101": (101, 11_213, "a video of {}."),
}
NAMED = {  # per image, in order: the name of its class in the prompt
    "imagenet": ["tench", "tench", "goldfish", "goldfish", "great white shark", "great white shark"],
    "imagenet-v2": ["tench", "tench", "goldfish", "goldfish", "brambling", "brambling"] + ["great white shark"] * 2,
    "imagenet-r": ["goldfish", "goldfish", "great white shark", "great white shark"] + ["hammerhead shark"] * 2,
    "imagenet-a": ["stingray", "stingray", "goldfinch", "goldfinch", "junco", "junco"],
    "imagenet-sketch": ["tench", "tench", "goldfish", "goldfish", "great white shark", "great white shark"],
    "caltech101": ["Faces easy", "Faces easy", "accordion", "accordion", "water lilly", "water lilly"],
    "pets": ["Abyssinian", "Bengal", "American Bulldog", "Shiba Inu"],
    "food101": ["apple pie", "apple pie", "beet salad", "pho"],
    "flowers102": ["pink primrose", "blackberry lily", "english marigold", "passion flower"],
    "cifar10": ["cat", "truck", "airplane", "cat"],
    "cifar100": ["aquarium fish", "apple", "bed"],
    "eurosat": ["Annual Crop Land"] * 2 + ["Forest"] * 2 + ["Sea or Lake"] * 2,
    "cars": ["Ram C/V Cargo Van Minivan 2012", "AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"],
    "aircraft": ["F-16A/B", "F-16A/B", "707-320"],
    "dtd": ["banded", "polka-dotted"] * 10,
    "sun397": ["abbey", "outdoor apartment building", "indoor seats theater"],
    "ucf101": ["ApplyEyeMakeup", "HammerThrow", "Hammering"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.write(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def checksums(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.accept_checksums(root, monkeypatch)


def load(root: Path, *keys: str, **options: Any) -> ClassSets:
    return Zeroshot(ZeroshotOptions(path=str(root), sets=keys or None, **options)).load("test")


def one(root: Path, key: str, **options: Any) -> ClassSet:
    return load(root, key, **options).sets[0].data


def refusal(root: Path, *keys: str, **options: Any) -> EditkitError:
    with pytest.raises(EditkitError) as error:
        load(root, *keys, **options)
    assert len(str(error.value).splitlines()) == 2
    return error.value


def test_the_profile_is_the_table_of_the_benchmark_in_the_papers_order() -> None:
    facts = sets_of("uwm")
    assert {key: (one.classes, one.images, one.template) for key, one in facts.items()} == FORMATS
    assert [one.paper for one in facts.values()] == [
        "ImageNet", "V2", "R", "A", "Sketch", "CAL", "PETS", "FOOD", "FLWR", "C10", "C100", "ESAT", "CARS", "AIR",
        "DTD", "SUN", "UCF",
    ]  # fmt: skip


@pytest.mark.parametrize("key", FORMATS)
def test_a_set_is_read_from_its_published_layout(root: Path, checksums: None, key: str) -> None:
    data = one(root, key)
    asked = [FORMATS[key][2].replace("{}", name) for name in NAMED[key]]
    assert [data.prompts()[label] for label in data.labels] == asked
    assert len(set(data.ids)) == len(data.ids) == len(data.images)
    assert all(open_rgb(image).size[0] >= layouts.SIZE for image in data.images)


def test_a_root_with_all_sets_gives_them_in_order_and_misses_none(root: Path, checksums: None) -> None:
    found = load(root)
    assert [one.facts.key for one in found.sets] == list(FORMATS)
    assert found.missing == () and found.of == 17


# What is easily got wrong


def test_imagenet_is_asked_about_all_its_classes_even_where_folders_lack(root: Path) -> None:
    assert len(one(root, "imagenet").classes) == 1000
    assert len(one(root, "imagenet-r").classes) == len(one(root, "imagenet-a").classes) == 200


def test_imagenet_v2_has_its_folders_in_the_order_of_text() -> None:
    names, thousand = imagenet("imagenet-v2"), list(imagenet("imagenet").values())
    assert list(names)[:6] == ["0", "1", "10", "100", "101", "102"] and list(names)[-1] == "999"
    assert all(names[str(index)] == thousand[index] for index in range(1000))


@pytest.mark.parametrize("which", ["imagenet", "imagenet-r", "imagenet-a"])
def test_wordnet_ids_are_sorted_and_subsets_have_the_names_of_the_thousand(which: str) -> None:
    names = imagenet(which)
    assert list(names) == sorted(names)
    assert all(imagenet("imagenet")[wnid] == name for wnid, name in names.items())


def test_known_ids_have_the_names_that_clips_authors_gave_them() -> None:
    names = imagenet("imagenet")
    assert names["n02012849"] == "crane bird" and names["n03126707"] == "construction crane"  # one word in WordNet
    assert names["n01608432"] == "kite (bird of prey)"


def test_caltech_has_no_background_class(root: Path) -> None:
    assert not any("BACKGROUND" in name for name in one(root, "caltech101").classes)


def test_dtd_is_all_ten_partitions_with_their_repeats(root: Path) -> None:
    data = one(root, "dtd")
    assert len(data.ids) == 20 and len(set(data.images)) == 4
    assert {name.partition("/")[0] for name in data.ids} == {str(number) for number in range(1, 11)}


def test_cifar_keeps_every_pixel(root: Path, checksums: None) -> None:
    shades = [np.unique(np.asarray(open_rgb(image))).tolist() for image in one(root, "cifar10").images]
    assert shades == [[0], [1], [2], [3]]


def test_a_video_gives_its_middle_frame(root: Path) -> None:
    for image in one(root, "ucf101").images:
        assert np.asarray(open_rgb(image)).mean() == pytest.approx(20 * 4, abs=4)  # frame 9 // 2 of 0 ... 8


def test_of_an_even_number_of_frames_the_later_middle_one_is_taken(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path, count=6)
    assert np.asarray(open_rgb(one(tmp_path, "ucf101").images[0])).mean() == pytest.approx(20 * 3, abs=4)


def test_frames_that_lie_there_as_images_need_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.ucf101(tmp_path, frames=True)
    monkeypatch.setattr("editkit.data.readers.videos.find_spec", lambda name: None)
    data = one(tmp_path, "ucf101")
    assert all(isinstance(image, Path) for image in data.images)
    assert [data.classes[label] for label in data.labels] == NAMED["ucf101"]


def test_without_a_decoder_videos_are_refused_with_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editkit.data.readers.videos.find_spec", lambda name: None)
    error = refusal(root, "ucf101")
    assert isinstance(error, InstallError) and "pip install opencv-python-headless" in error.remedy


def test_a_damaged_video_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    layouts.ucf101(tmp_path)
    film = next(tmp_path.rglob("v_Hammering*.avi"))
    film.write_bytes(b"RIFF, but no film")
    image = one(tmp_path, "ucf101").images[2]
    assert image_digests([image])  # so that --on-bad-item skip gets to it
    with pytest.raises(DataError, match="v_Hammering_g03_c01.avi, middle frame cannot be read"):
        open_rgb(image)


def test_images_that_are_read_late_can_be_sent_to_workers(root: Path) -> None:
    image = one(root, "ucf101").images[0]
    assert open_rgb(pickle.loads(pickle.dumps(image))).size == (64, 48)


# What is not there, or not whole


def test_sets_that_are_not_there_are_missing_with_where_to_get_them(tmp_path: Path) -> None:
    layouts.write(tmp_path, "pets", "eurosat")
    found = load(tmp_path)
    assert [one.facts.key for one in found.sets] == ["pets", "eurosat"]
    assert len(found.missing) == 15
    reasons = {item.id: item.reason for item in found.missing}
    assert "https://image-net.org" in reasons["imagenet"] and "val/n*" in reasons["imagenet"]


def test_a_set_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    layouts.write(tmp_path, "pets")
    error = refusal(tmp_path, "pets", "food101")
    assert "Food101 is not in" in error.problem and "torchvision.datasets.Food101" in error.remedy


def test_an_unknown_set_is_refused_with_a_guess(root: Path) -> None:
    assert "Did you mean 'pets'?" in refusal(root, "pest").problem


def test_a_folder_without_any_set_is_refused(tmp_path: Path) -> None:
    assert "none of the 17 sets of profile uwm" in refusal(tmp_path).problem
    assert "There is no folder" in refusal(tmp_path / "absent").problem


def test_a_partial_copy_is_read_and_said_to_be_one(root: Path) -> None:
    [named] = load(root, "pets").sets
    said = "Oxford Pets: this copy has 4 images (the whole set has 3,669) and 4 classes (the whole set has 37)."
    assert named.warnings == (said,)


def test_a_listed_image_that_is_missing_is_an_error_or_left_out(tmp_path: Path) -> None:
    layouts.write(tmp_path, "pets")
    next(tmp_path.rglob("Bengal_109.jpg")).unlink()
    assert "Bengal_109.jpg: image missing" in refusal(tmp_path, "pets").problem
    data = one(tmp_path, "pets", on_bad_item="skip")
    assert len(data.ids) == 3 and [item.id for item in data.left_out] == ["oxford-iiit-pet/images/Bengal_109.jpg"]


def test_a_folder_that_is_no_wordnet_id_is_refused(tmp_path: Path) -> None:
    layouts.write(tmp_path, "imagenet-sketch")
    layouts.save(tmp_path / "sketch" / "n99999999" / "1.jpg", 0)
    assert "'n99999999', which is no class of this set" in refusal(tmp_path, "imagenet-sketch").problem


def test_cifar_that_is_not_the_published_file_is_never_unpickled(tmp_path: Path) -> None:
    layouts.write(tmp_path, "cifar10")  # small copies have other checksums
    assert "CIFAR10 cannot read" in refusal(tmp_path, "cifar10").problem


def test_a_list_that_lacks_a_file_is_an_error_of_the_set(tmp_path: Path) -> None:
    layouts.write(tmp_path, "dtd")
    next(tmp_path.rglob("test7.txt")).unlink()
    assert "torchvision's DTD cannot read" in refusal(tmp_path, "dtd").problem


def test_a_set_may_lie_one_folder_further_down(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "eurosat", tmp_path / "EuroSAT" / "eurosat")
    assert one(tmp_path, "eurosat").ids == one(root, "eurosat").ids


# The same sets from the hub's Parquet files


def test_cifar_is_read_from_the_hubs_parquet_files(tmp_path: Path) -> None:
    names = ["apple", "aquarium_fish", "baby"]
    rows = [(layouts.encoded(shade), label) for shade, label in ((1, 2), (2, 0), (3, 1))]
    place = tmp_path / "cifar100" / "cifar100"
    layouts.hub_parquet(place / "test-00000-of-00001.parquet", rows, names, "img", "fine_label")
    layouts.hub_parquet(place / "train-00000-of-00001.parquet", rows * 2, names, "img", "fine_label")
    data = one(tmp_path, "cifar100")
    assert data.labels == (2, 0, 1) and data.prompts()[1] == "a photo of a aquarium fish."
    assert [np.asarray(open_rgb(image))[0, 0, 0] for image in data.images] == [1, 2, 3]


def test_food101_is_read_from_several_parquet_files(tmp_path: Path) -> None:
    for part in range(2):
        file = tmp_path / "food101" / "data" / f"validation-0000{part}-of-00002.parquet"
        layouts.hub_parquet(file, [(layouts.encoded(part), part)], ["apple_pie", "pho"], "image", "label")
    data = one(tmp_path, "food101")
    assert data.labels == (0, 1) and data.prompts()[0] == "a photo of apple pie, a type of food."
