"""webdataset shards and Parquet files: profile clip-benchmark, and sets of one's own in a few lines of YAML."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zeroshot_layouts as layouts
from test_zeroshot_readers import one, refusal

from editkit.data.classes import Classes, ClassSet
from editkit.data.options import ClassesOptions
from editkit.data.readers.images import open_rgb
from editkit.data.zeroshot.catalogue import sets_of
from editkit.errors import DataError

NAMES = ("Abyssinian", "shiba_inu", "great dane")
TEMPLATES = ("a photo of a {c}, a type of pet.", "a {c}.")


def sample(shade: int, label: int, suffix: str = "webp") -> layouts.Sample:
    forms = {"webp": "webp", "png": "png", "jpg": "jpeg"}
    return suffix, layouts.encoded(shade, forms[suffix]), label


def pets(root: Path, **changes: Any) -> Path:
    """Two shards with images of three formats, as `wds_vtab-pets`."""
    given = {
        "names": NAMES,
        "templates": TEMPLATES,
        "parts": [[sample(1, 2, "png"), sample(2, 0, "jpg")], [sample(3, 1, "webp")]],
        **changes,
    }
    return layouts.shards(root / "wds_vtab-pets", **given)


def clip(root: Path, key: str = "pets") -> ClassSet:
    return one(root, key, profile="clip-benchmark")


def test_shards_are_read_with_names_and_prompts_from_beside_them(tmp_path: Path) -> None:
    pets(tmp_path)
    data = clip(tmp_path)
    assert data.labels == (2, 0, 1) and data.classes == NAMES
    assert data.ids == ("0.tar/s0000000", "0.tar/s0000001", "1.tar/s0000002")
    assert np.asarray(open_rgb(data.images[0]))[0, 0].tolist() == [1, 2, 254]
    assert all(open_rgb(image).size == (layouts.SIZE, layouts.SIZE) for image in data.images)


def test_an_ensemble_has_all_prompts_of_a_class_together_and_names_as_they_are(tmp_path: Path) -> None:
    pets(tmp_path)
    assert clip(tmp_path).prompts() == (
        "a photo of a Abyssinian, a type of pet.",
        "a Abyssinian.",
        "a photo of a shiba_inu, a type of pet.",
        "a shiba_inu.",
        "a photo of a great dane, a type of pet.",
        "a great dane.",
    )


def test_images_stay_in_the_shard_until_they_are_decoded(tmp_path: Path) -> None:
    folder = pets(tmp_path)
    first, *_ = clip(tmp_path).images
    assert open_rgb(first).size == (layouts.SIZE, layouts.SIZE)
    shard = folder / "test" / "0.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DataError, match=r"0.tar/s0000000.png cannot be read"):
        open_rgb(first)
    assert not list(folder.rglob("*.png"))


def test_the_profile_has_fifteen_sets_under_the_keys_of_the_other() -> None:
    theirs, ours = sets_of("clip-benchmark"), sets_of("uwm")
    assert list(theirs) == [key for key in ours if key not in ("food101", "ucf101")]
    assert all(theirs[key].title == ours[key].title for key in theirs)
    assert theirs["dtd"].images == 1880 and theirs["caltech101"].classes == 102  # other splits than the paper's


def test_cifar_10_is_not_taken_for_cifar_100(tmp_path: Path) -> None:
    layouts.shards(tmp_path / "wds_vtab-cifar100", NAMES, TEMPLATES, [[sample(0, 0)]])
    assert "CIFAR-10 is not in" in refusal(tmp_path, "cifar10", profile="clip-benchmark").problem


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "test" / "1.tar").unlink(), "lacks 1 of its 2 shards, first 1.tar"),
        (lambda folder: (folder / "test" / "nshards.txt").write_text("two"), "holds 'two', not a number"),
        (lambda folder: (folder / "classnames.txt").unlink(), "classnames.txt cannot be read"),
        (lambda folder: (folder / "classnames.txt").write_text("one\n"), "has label 2, but classnames.txt has 1"),
        (lambda folder: (folder / "zeroshot_classification_templates.txt").write_text("\n"), "is empty"),
        (lambda folder: (folder / "test" / "1.tar").write_bytes(b"x" * 2000), "1.tar cannot be read"),
    ],
)
def test_shards_that_are_not_whole_are_refused(tmp_path: Path, spoil: Any, reason: str) -> None:
    spoil(pets(tmp_path))
    assert reason in refusal(tmp_path, "pets", profile="clip-benchmark").problem


def test_a_sample_without_label_is_refused_by_name(tmp_path: Path) -> None:
    folder = pets(tmp_path)
    with tarfile.open(folder / "test" / "1.tar", "w") as file:
        file.add(layouts.save(tmp_path / "s7.png", 0), "s7.png")
    assert "sample '1.tar/s7' has no label (.cls)" in refusal(tmp_path, "pets", profile="clip-benchmark").problem


def test_the_hub_is_asked_for_named_sets_only(tmp_path: Path) -> None:
    error = refusal("hf:clip-benchmark", profile="clip-benchmark")  # type: ignore[arg-type]
    assert "15 sets" in error.problem and "--sets imagenet" in error.remedy


def test_a_set_of_the_hub_is_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "datasets--clip-benchmark--wds_vtab-pets"
    pets(tmp_path / "made").rename(tmp_path / "snapshot")
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    (home / "snapshots").mkdir()
    (tmp_path / "snapshot").rename(home / "snapshots" / ("0" * 40))
    [named] = one_set("hf:clip-benchmark")
    assert named.data.labels == (2, 0, 1)


def one_set(path: str) -> Any:
    from editkit.data.zeroshot.options import ZeroshotOptions
    from editkit.data.zeroshot.sets import Zeroshot

    options = ZeroshotOptions(path=path, sets=("pets",), profile="clip-benchmark")
    return Zeroshot(options).load("test").sets


# Sets of one's own


def own(place: Path, **keys: Any) -> ClassSet:
    (place / "own.yaml").write_text(yaml.safe_dump({"name": "own", **keys}))
    return Classes(ClassesOptions(path=place / "own.yaml")).load("test")


def not_own(place: Path, **keys: Any) -> str:
    with pytest.raises(DataError) as error:
        own(place, **keys)
    assert len(str(error.value).splitlines()) == 2
    return error.value.problem


def test_class_folders_name_their_classes(tmp_path: Path) -> None:
    layouts.class_folders(tmp_path / "images", ("sea_horse", "ant"), per_class=1)
    data = own(tmp_path, folder="images", template="a photo of a {}.")
    assert data.prompts() == ("a photo of a ant.", "a photo of a sea horse.") and data.labels == (0, 1)


def test_parquet_files_of_the_hub_name_columns_and_classes_themselves(tmp_path: Path) -> None:
    rows = [(layouts.encoded(5), 1), (layouts.encoded(6), 0)]
    layouts.hub_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows, ["cat", "sea_horse"], "pixels", "kind")
    data = own(tmp_path, parquet="data/test-*.parquet", template="a {}.")
    assert data.labels == (1, 0) and data.prompts() == ("a cat.", "a sea horse.")
    assert data.ids[0] == "test-00000-of-00001.parquet/1"


def test_of_two_label_columns_one_has_to_be_named(tmp_path: Path) -> None:
    layouts.hub_parquet(tmp_path / "a.parquet", [(layouts.encoded(5), 1)], ["cat", "dog"], "img", "fine_label")
    assert "no column 'label'" in not_own(tmp_path, parquet="a.parquet", template="a {}.")
    assert own(tmp_path, parquet="a.parquet", label="fine_label", template="a {}.").labels == (1,)
    assert "no column 'fine'" in not_own(tmp_path, parquet="a.parquet", label="fine", template="a {}.")


def test_parquet_without_features_needs_the_classes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [layouts.encoded(1)], "label": [1]}), tmp_path / "a.parquet")
    assert "does not say which classes" in not_own(tmp_path, parquet="a.parquet", template="a {}.")
    assert own(tmp_path, parquet="a.parquet", classes=["cat", "dog"], template="a {}.").labels == (1,)
    assert "label 1, which is none of 1" in not_own(tmp_path, parquet="a.parquet", classes=["cat"], template="a {}.")


def test_labels_that_are_names_need_no_list(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [layouts.encoded(1), layouts.encoded(2)], "label": ["dog", "cat"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert own(tmp_path, parquet="a.parquet", template="a {}.").labels == (1, 0)


def test_shards_bring_prompts_which_the_file_may_replace(tmp_path: Path) -> None:
    pets(tmp_path)
    assert len(own(tmp_path, shards="wds_vtab-pets").prompts()) == 6
    data = own(tmp_path, shards="wds_vtab-pets", templates=["one {}", "two {}"], classes=["a", "b", "c"])
    assert data.prompts() == ("one a", "two a", "one b", "two b", "one c", "two c")
    few = not_own(tmp_path, shards="wds_vtab-pets", classes=["a", "b"])
    assert "2 classes are listed, but the images have 3" in few


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"folder": "images"}, "the key 'template' is missing"),
        ({"folder": "images", "template": "a {}", "templates": ["b {}"]}, "either template or templates"),
        ({"folder": "images", "templates": ["a {}", "b"]}, "'b' must contain {} once"),
        ({"folder": "a", "shards": "b", "template": "a {}"}, "either table or folder, or parquet or shards"),
        ({"folder": "images", "template": "a {}", "label": "kind"}, "there is no parquet"),
        ({"parquet": "absent-*.parquet", "template": "a {}"}, "No file matches"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, keys: dict[str, Any], reason: str) -> None:
    layouts.class_folders(tmp_path / "images", ("ant",))
    assert reason in not_own(tmp_path, **keys)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text(json.dumps({}))
    assert "a.parquet cannot be read" in not_own(tmp_path, parquet="a.parquet", template="a {}.")


def in_tar(path: Path, *members: tuple[str, bytes], link: str = "") -> Path:
    """A shard with members of any name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, members[0][0]
            file.addfile(member)
    return path


def one_shard(root: Path, *members: tuple[str, bytes], link: str = "") -> Path:
    folder = layouts.shards(root / "shards", NAMES, TEMPLATES, [[]])
    in_tar(folder / "test" / "0.tar", *members, link=link)
    return folder


def test_samples_of_the_same_name_in_different_folders_are_different_samples(tmp_path: Path) -> None:
    members = [
        (f"{part}/0000.{suffix}", content)
        for label, part in enumerate(("cat", "./dog", "."))
        for suffix, content in (("avif", layouts.encoded(label)), ("json", b"{}"), ("cls", f"{label}".encode()))
    ]
    one_shard(tmp_path, *members)
    data = own(tmp_path, shards="shards")
    assert data.ids == ("0.tar/cat/0000", "0.tar/dog/0000", "0.tar/0000") and data.labels == (0, 1, 2)


@pytest.mark.parametrize(
    ("members", "link", "reason"),
    [
        ([("a.jpg", b"1"), ("a.png", b"2"), ("a.cls", b"0")], "", "the sample '0.tar/a' has two images"),
        ([("a.jpg", b"1"), ("a.cls", b"0"), ("a.cls", b"1")], "", "the sample '0.tar/a' has two labels"),
        ([("a.jpg", b"1"), ("a.cls", b"0")], "b.jpg", "'b.jpg' is a link"),
    ],
)
def test_a_sample_is_never_dropped_for_another(
    tmp_path: Path, members: list[tuple[str, bytes]], link: str, reason: str
) -> None:
    one_shard(tmp_path, *members, link=link)
    assert reason in not_own(tmp_path, shards="shards")


def test_class_names_beside_shards_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    folder = pets(tmp_path)
    (folder / "classnames.txt").write_text("\ufeff" + "\n".join(NAMES), encoding="utf-8")
    assert clip(tmp_path).classes == NAMES


def texts(path: Path, *labels: object) -> None:
    """A Parquet file without features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    images = [layouts.encoded(shade) for shade in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": list(labels)}), path)


def test_each_parquet_file_may_hold_a_class_of_its_own(tmp_path: Path) -> None:
    for name in ("pizza", "apple", "kite"):
        texts(tmp_path / f"{name}.parquet", name, name)
    data = own(tmp_path, parquet="*.parquet", template="a {}.")
    assert data.classes == ("apple", "kite", "pizza") and data.labels == (0, 0, 1, 1, 2, 2)


def test_files_whose_features_list_different_classes_are_put_together_by_name(tmp_path: Path) -> None:
    layouts.hub_parquet(tmp_path / "a.parquet", [(layouts.encoded(1), 1)], ["cat", "dog"], "image", "label")
    layouts.hub_parquet(tmp_path / "b.parquet", [(layouts.encoded(2), 0)], ["dog", "cow"], "image", "label")
    data = own(tmp_path, parquet="*.parquet", template="a {}.")
    assert data.classes == ("cat", "dog", "cow") and data.labels == (1, 1)


def test_two_classes_of_one_name_stay_two(tmp_path: Path) -> None:
    rows = [(layouts.encoded(1), 2), (layouts.encoded(2), 0)]
    layouts.hub_parquet(tmp_path / "a.parquet", rows, ["crane", "cat", "crane"], "image", "label")
    assert own(tmp_path, parquet="a.parquet", template="a {}.").labels == (2, 0)


def test_a_pattern_may_be_absolute_go_through_folders_or_be_a_name_with_brackets(tmp_path: Path) -> None:
    for place in ("data/a/x.parquet", "data/b/x.parquet", "v[2]/x.parquet"):
        texts(tmp_path / place, "cat")
    (tmp_path / "data" / "folder.parquet").mkdir()

    def ids(pattern: object) -> tuple[str, ...]:
        return own(tmp_path, parquet=str(pattern), template="a {}.").ids

    assert ids("data/**/*.parquet") == ids(tmp_path / "data" / "**" / "*.parquet") == ("a/x.parquet/1", "b/x.parquet/1")
    assert ids("v[2]/x.parquet") == ids(tmp_path / "v[2]" / "x.parquet") == ("x.parquet/1",)
    assert ids("data/a/**.parquet") == ("x.parquet/1",)


@pytest.mark.parametrize("pattern", ["", "nothing-*.parquet", "**.parquet", "/nowhere/*.parquet", "data"])
def test_a_pattern_that_matches_nothing_says_where_it_starts(tmp_path: Path, pattern: str) -> None:
    texts(tmp_path / "data" / "x.parquet", "cat")
    told = not_own(tmp_path, parquet=pattern, template="a {}.")
    assert f"`parquet: '{pattern}'`" in told


def test_a_parquet_label_that_became_a_float_is_told_how(tmp_path: Path) -> None:
    texts(tmp_path / "a.parquet", 0.0, 1.0)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "o", "template": "{}", "parquet": "a.parquet", "classes": ["cat", "dog"]}))
    with pytest.raises(DataError) as error:
        Classes(ClassesOptions(path=path)).load("test")
    assert error.value.remedy.startswith("Write 0, not 0.0")
