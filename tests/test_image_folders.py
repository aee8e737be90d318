"""Class folders as people have them: every kind of image counts, and whatever is left out is told with its count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import as_error, done, run
from PIL import Image, features

from editkit.data.classes import Classes, ClassSet
from editkit.data.options import ClassesOptions
from editkit.data.preserved import preserved_of
from editkit.data.readers.image_files import image_suffixes
from editkit.errors import DataError

FORMATS = ("avif", "jfif", "jp2", "pgm", "tif", "bmp", "ico", "PNG")


def save(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (16, 16), level).save(path)
    return path


def described(place: Path, more: str = "") -> Path:
    (place / "set.yaml").write_text(f'name: set\ntemplate: "a {{}}"\nfolder: images\n{more}')
    return place / "set.yaml"


def load(place: Path, more: str = "", **options: object) -> ClassSet:
    return Classes(ClassesOptions(path=described(place, more), **options)).load("test")  # type: ignore[arg-type]


def refusal(place: Path, **options: object) -> str:
    with pytest.raises(DataError) as error:
        load(place, **options)  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_any_format_that_pillow_decodes_is_taken(tmp_path: Path, form: str) -> None:
    if form == "avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    save(tmp_path / "images" / "cat" / f"1.{form}")
    data = load(tmp_path)
    assert data.ids == (f"images/cat/1.{form}",) and data.warnings == ()


def test_what_pillow_only_recognises_or_only_writes_is_no_image() -> None:
    assert not image_suffixes() & {".mpg", ".h5", ".pdf", ".txt", ".json"}


def test_a_photograph_that_needs_a_plugin_is_taken_and_names_the_plugin_when_it_is_decoded(tmp_path: Path) -> None:
    from editkit.data.readers.images import open_rgb

    save(tmp_path / "images" / "cat" / "1.png")
    photograph = tmp_path / "images" / "cat" / "2.heic"
    photograph.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    assert load(tmp_path).images[1] == photograph
    with pytest.raises(DataError, match="it is HEIF") as error:
        open_rgb(photograph)
    assert "`pip install pillow-heif`" in error.value.remedy and "--on-bad-item skip" in error.value.remedy


def test_links_to_folders_are_followed_and_a_circle_ends(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    save(tmp_path / "elsewhere" / "deep" / "2.png")
    (tmp_path / "images" / "dog").mkdir(parents=True)
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "dog" / "more").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "elsewhere")
    of_cat, of_dog = ("cat/1.png", "cat/deep/2.png"), ("dog/more/2.png", "dog/more/back/1.png")
    assert load(tmp_path).ids == tuple(f"images/{image}" for image in (*of_cat, *of_dog))


def test_hidden_files_and_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    for name in ("._1.png", ".DS_Store", "notes.txt", "more.TXT", "labels.json", "README"):
        (tmp_path / "images" / "cat" / name).touch()
    save(tmp_path / "images" / "loose.png")
    data = load(tmp_path)
    assert data.ids == ("images/cat/1.png",)
    assert data.warnings == (
        "images: left out 4 files that are no images (.txt 2, .json 1, without extension 1), 2 hidden files, "
        "1 image in no class folder.",
    )


def test_a_class_folder_without_images_is_an_error_since_its_class_would_vanish(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    (tmp_path / "images" / "dog").mkdir()
    (tmp_path / "images" / "dog" / "1.mpg").touch()
    told = refusal(tmp_path)
    assert "dog has no images, only files of other kinds (.mpg 1): the class would vanish" in told
    data = load(tmp_path, on_bad_item="skip")
    assert data.classes == ("cat",)
    assert data.warnings == ("images: left out 1 file that is no image (.mpg 1), 1 folder without images (dog).",)


def test_a_listed_class_without_images_stays_a_class_and_is_told(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    (tmp_path / "images" / "dog").mkdir()
    data = load(tmp_path, "classes: [cat, dog]\n")
    assert data.classes == ("cat", "dog")
    assert data.warnings == ("images: left out 1 folder without images (dog).",)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    locked = tmp_path / "images" / "dog"
    locked.mkdir(mode=0)
    if os.access(locked, os.R_OK):  # root may read everything
        scandir = os.scandir

        def refused(path: Path) -> object:
            if Path(path) == locked:
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refused)
    assert "dog cannot be read: Permission denied" in refusal(tmp_path)


def test_a_link_that_leads_nowhere_is_a_missing_image(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    (tmp_path / "images" / "cat" / "2.png").symlink_to(tmp_path / "absent.png")
    assert "image missing" in refusal(tmp_path)
    assert [entry.id for entry in load(tmp_path, on_bad_item="skip").left_out] == ["images/cat/2.png"]


def test_the_report_and_the_screen_say_what_was_left_out(tmp_path: Path) -> None:
    for part, level in (("cat", 10), ("dog", 200)):
        save(tmp_path / "images" / part / "1.png", level)
    (tmp_path / "images" / "cat" / "notes.txt").touch()
    flags = ("eval", "zeroshot", "--data", f"classes:{described(tmp_path)}", "--no-controls", "--workers", 0)
    told = "images: left out 1 file that is no image (.txt 1)."
    assert done(*flags, "--json").json["warnings"] == [told]
    assert f"Warning: {told}" in done(*flags).flat
    beside = ("eval", "safeground", "--limit", 4, "--knowledge", f"classes:{tmp_path / 'set.yaml'}", "--workers", 0)
    assert told in done(*beside, "--no-controls", "--json").json["warnings"]


def test_what_a_set_beside_tuples_left_out_is_told_too(tmp_path: Path) -> None:
    for part in ("cat", "dog"):
        for number in (1, 2):
            save(tmp_path / "images" / part / f"{number}.png", 60 * number)
    (tmp_path / "images" / "cat" / "1.png").write_bytes(b"no image")
    flags = ("eval", "safeground", "--limit", 4, "--knowledge", f"classes:{described(tmp_path)}", "--workers", 0)
    assert "1.png cannot be read" in as_error(run(*flags, "--no-controls"))
    [entry] = done(*flags, "--no-controls", "--on-bad-item", "skip", "--json").json["left_out"]
    assert entry["id"] == "set: images/cat/1.png"


def test_what_an_edit_preserves_says_what_was_left_out(tmp_path: Path) -> None:
    save(tmp_path / "images" / "cat" / "1.png")
    (tmp_path / "images" / "cat" / "notes.txt").touch()
    (tmp_path / "images" / "cat" / "2.png").symlink_to(tmp_path / "absent.png")
    kept = preserved_of(load(tmp_path, on_bad_item="skip"))
    assert len(kept.warnings) == 2 and "left out 1, first 'images/cat/2.png'" in kept.warnings[0]
    assert kept.draw(1, 0).only(["vision"]).warnings == kept.warnings


def test_a_gallery_takes_the_same_images_and_tells_the_rest(tmp_path: Path) -> None:
    from editkit.evals.judges.items import read_items

    for name in ("1.avif", "deep/2.jfif", "._1.avif"):
        save(tmp_path / "gallery" / name) if not name.startswith(".") else (tmp_path / "gallery" / name).touch()
    found = read_items(tmp_path / "gallery", "image")
    assert found.ids == ("1.avif", "deep/2.jfif")
    assert found.warnings == ("gallery: left out 1 hidden file.",)
