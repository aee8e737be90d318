"""Small copies of zero-shot sets, each written as it is published: folders, lists, .mat files, pickles, videos, tars.

Every image is a square of its own shade, so that a test can tell from its pixels which image it was given.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIZE = 32


def encoded(shade: int, form: str = "png") -> bytes:
    """One image; only lossless formats keep the shade."""
    stream = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (shade, 2 * shade % 256, 255 - shade)).save(stream, format=form)
    return stream.getvalue()


def save(path: Path, shade: int) -> Path:
    """Write one image, in the format of the path's suffix."""
    forms = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(shade, forms[path.suffix.lower()]))
    return path


def lines(path: Path, content: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in content))


def class_folders(folder: Path, parts: Sequence[str], name: str = "{part}_{number}.jpg", per_class: int = 2) -> None:
    for shade, (part, number) in enumerate((part, number) for part in parts for number in range(1, per_class + 1)):
        save(folder / part / name.format(part=part, number=number), shade)


# ImageNet and its variants: folders of WordNet ids

WNIDS = ("n01440764", "n01443537", "n01484850")  # tench, goldfish, great white shark
IN_R = ("n01443537", "n01484850", "n01494475")  # goldfish, great white shark, hammerhead
IN_A = ("n01498041", "n01531178", "n01534433")  # stingray, goldfinch, junco


def imagenet(root: Path) -> None:
    class_folders(root / "ImageNet" / "val", WNIDS, "ILSVRC2012_val_{part}{number:04d}.JPEG")


def imagenet_v2(root: Path) -> None:
    folder = root / "ImageNetV2" / "imagenetv2-matched-frequency-format-val"
    class_folders(folder, ("0", "1", "10", "2"), "{number}.jpeg")


def imagenet_r(root: Path) -> None:
    class_folders(root / "imagenet-r", IN_R, "art_{number}.jpg")


def imagenet_a(root: Path) -> None:
    class_folders(root / "imagenet-a", IN_A, "0.{number}_spoon.jpg")


def imagenet_sketch(root: Path) -> None:
    class_folders(root / "sketch", WNIDS, "sketch_{number}.JPEG")


# Sets of torchvision


def caltech101(root: Path) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    class_folders(folder, ("BACKGROUND_Google", "Faces_easy", "accordion", "water_lilly"), "image_{number:04d}.jpg")


def pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    rows = [("Abyssinian_201", 1, 1), ("american_bulldog_203", 2, 2), ("Bengal_109", 6, 1), ("shiba_inu_7", 32, 2)]
    lines(folder / "annotations" / "test.txt", (f"{name} {label} {kind} 1" for name, label, kind in rows))
    for shade, (name, _, _) in enumerate(rows):
        save(folder / "images" / f"{name}.jpg", shade)


def food101(root: Path) -> None:
    folder = root / "food-101"
    test = {"apple_pie": ["apple_pie/1011328", "apple_pie/101251"], "beet_salad": ["beet_salad/1"], "pho": ["pho/7"]}
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "test.json").write_text(json.dumps(test))
    for shade, name in enumerate(name for names in test.values() for name in names):
        save(folder / "images" / f"{name}.jpg", shade)


def flowers102(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "flowers-102"
    for number in range(1, 7):
        save(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 1, 1, 102, 5, 77]])})
    savemat(folder / "setid.mat", {"trnid": [[1]], "valid": [[2]], "tstid": [[6, 3, 4, 5]]})


def cifar(root: Path, name: str, folder: str, names: Sequence[str], labels: Sequence[int]) -> None:
    """The pickles of the Python version; the training files are there too, since torchvision looks for them."""
    hundred = name == "CIFAR100"
    place = root / folder
    place.mkdir(parents=True)
    pixels = np.stack([np.full(3 * 32 * 32, shade, dtype=np.uint8) for shade in range(len(labels))])
    batch = {"data": pixels, "fine_labels" if hundred else "labels": list(labels)}
    files: dict[str, Any] = {"test": batch, "train": batch, "meta": {"fine_label_names": list(names)}}
    if not hundred:
        files = {"test_batch": batch, **{f"data_batch_{n}": batch for n in range(1, 6)}}
        files["batches.meta"] = {"label_names": list(names)}
    for file, content in files.items():
        (place / file).write_bytes(pickle.dumps(content, protocol=2))


def cifar10(root: Path) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    cifar(root, "CIFAR10", "cifar-10-batches-py", names, [3, 9, 0, 3])


def cifar100(root: Path) -> None:
    cifar(root, "CIFAR100", "cifar-100-python", ["apple", "aquarium_fish", "baby", "bear", "beaver", "bed"], [1, 0, 5])


def eurosat(root: Path) -> None:
    class_folders(root / "eurosat" / "2750", ("AnnualCrop", "Forest", "SeaLake"))


def cars(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]})
    rows = np.array([("00001.jpg", 3), ("00002.jpg", 1), ("00003.jpg", 3)], dtype=[("fname", object), ("class", "u1")])
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": rows[None]})
    for number in range(1, 4):
        save(folder / "cars_test" / f"{number:05d}.jpg", number)


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    lines(data / "variants.txt", ["707-320", "727-200", "F-16A/B"])
    lines(data / "images_variant_test.txt", ["1514522 707-320", "0747566 F-16A/B", "1008575 F-16A/B"])
    for shade, number in enumerate(("1514522", "0747566", "1008575")):
        save(data / "images" / f"{number}.jpg", shade)


def dtd(root: Path) -> None:
    """Ten partitions of four images, two of which are in each test list."""
    folder = root / "dtd" / "dtd"
    names = [f"{part}/{part}_{number:04d}.jpg" for part in ("banded", "polka-dotted") for number in (1, 2)]
    for shade, name in enumerate(names):
        save(folder / "images" / name, shade)
    for partition in range(1, 11):
        lines(folder / "labels" / f"test{partition}.txt", [names[partition % 2], names[2 + partition % 2]])


def sun397(root: Path) -> None:
    folder = root / "SUN397"
    lines(folder / "ClassName.txt", ["/a/abbey", "/a/apartment_building/outdoor", "/t/theater/indoor_seats"])
    for shade, part in enumerate(("a/abbey", "a/apartment_building/outdoor", "t/theater/indoor_seats")):
        save(folder / part / f"sun_a{9 - shade}.jpg", shade)


# UCF101: videos, or frames


def ucf101(root: Path, *, frames: bool = False, count: int = 9) -> None:
    folder = root / "UCF101"
    lines(folder / "ucfTrainTestlist" / "classInd.txt", ["1 ApplyEyeMakeup", "2 Hammering", "3 HammerThrow"])
    for number, part in enumerate(("ApplyEyeMakeup", "HammerThrow", "Hammering"), 1):
        name = f"v_{part}_g0{number}_c01"
        lines(folder / "ucfTrainTestlist" / f"testlist0{number}.txt", [f"{part}/{name}.avi"])
        if frames:
            save(folder / "UCF-101-midframes" / part / f"{name}.jpg", number)
        else:
            video(folder / "UCF-101" / part / f"{name}.avi", count)


def video(path: Path, count: int) -> Path:
    """A film whose frame i is a grey of level 20 i."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 20 * number, dtype=np.uint8))
    writer.release()
    return path


# The two layouts of data sets on the hub

Sample = tuple[str, bytes, int]
"""Suffix of the image, its bytes, its label."""


def shards(folder: Path, names: Sequence[str], templates: Sequence[str], parts: Sequence[Sequence[Sample]]) -> Path:
    """A webdataset as `clip_benchmark_export_wds` writes it."""
    lines(folder / "classnames.txt", names)
    lines(folder / "zeroshot_classification_templates.txt", templates)
    lines(folder / "test" / "nshards.txt", [str(len(parts))])
    number = 0
    for index, samples in enumerate(parts):
        with tarfile.open(folder / "test" / f"{index}.tar", "w") as file:
            for suffix, data, label in samples:
                for extension, content in ((suffix, data), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"s{number:07d}.{extension}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
                number += 1
    return folder


def hub_parquet(path: Path, rows: Sequence[tuple[bytes, int]], names: Sequence[str], image: str, label: str) -> Path:
    """A Parquet file as `datasets` writes it to the hub, with its features in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
    if label == "fine_label":
        features["coarse_label"] = {"names": ["fish", "fruit"], "_type": "ClassLabel"}
    table = pa.table(
        {
            image: [{"bytes": data, "path": f"{number}.png"} for number, (data, _) in enumerate(rows)],
            label: [value for _, value in rows],
            **({"coarse_label": [0 for _ in rows]} if label == "fine_label" else {}),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    return path


# torchvision compares checksums of whole sets; a small copy brings its own


def accept_checksums(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Let torchvision's readers take the small copies of CIFAR and of Flowers102 for the published files."""
    from torchvision import datasets

    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes()).hexdigest()

    for kind in (datasets.CIFAR10, datasets.CIFAR100):
        folder = root / kind.base_folder
        if folder.is_dir():
            for files in ("train_list", "test_list"):
                patch.setattr(kind, files, [[name, md5(folder / name)] for name, _ in getattr(kind, files)])
            patch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})
    flowers = root / "flowers-102"
    if flowers.is_dir():
        known = datasets.Flowers102._file_dict
        ours = {key: (name, md5(flowers / name)) for key, (name, _) in known.items() if key != "image"}
        patch.setattr(datasets.Flowers102, "_file_dict", {**known, **ours})


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "imagenet": imagenet,
    "imagenet-v2": imagenet_v2,
    "imagenet-r": imagenet_r,
    "imagenet-a": imagenet_a,
    "imagenet-sketch": imagenet_sketch,
    "caltech101": caltech101,
    "pets": pets,
    "food101": food101,
    "flowers102": flowers102,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "eurosat": eurosat,
    "cars": cars,
    "aircraft": aircraft,
    "dtd": dtd,
    "sun397": sun397,
    "ucf101": ucf101,
}
"""By key, in the order of the paper's table."""


def write(root: Path, *keys: str) -> Path:
    """Write small copies of the sets named, or of all."""
    for key in keys or WRITERS:
        WRITERS[key](root)
    return root
