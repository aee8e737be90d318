"""Decoding: every image becomes RGB, and every broken one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from editkit.data.readers.images import ImageBytes, open_rgb
from editkit.errors import DataError


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (5, 3)).save(path)
    image = open_rgb(path)
    assert image.mode == "RGB"
    assert image.size == (5, 3)


def test_bytes_decode_like_the_file_they_came_from(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.linear_gradient("L").save(path)
    assert open_rgb(ImageBytes(path.read_bytes(), "row 1")).tobytes() == open_rgb(path).tobytes()


def test_exif_orientation_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_rgb(tmp_path / "turned.jpg").size == (8, 4)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.png does not exist"):
        open_rgb(tmp_path / "absent.png")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 no jpeg", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read") as refusal:
        open_rgb(path)
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=rf"cut\{suffix} cannot be read"):
        open_rgb(path)


def test_broken_bytes_are_called_by_their_name() -> None:
    with pytest.raises(DataError, match="tuples.parquet, row 3, safe_image cannot be read"):
        open_rgb(ImageBytes(b"", "tuples.parquet, row 3, safe_image"))


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (100, 100)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png cannot be read: it has more than 2,000 pixels"):
        open_rgb(path)


RAMP = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)


def saved(path: Path, values: npt.NDArray[np.generic]) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("name", ["g.png", "g.tif", "g.jp2", "g.pgm"])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path: Path, name: str) -> None:
    grey = np.asarray(open_rgb(saved(tmp_path / name, RAMP)))
    assert np.array_equal(grey[..., 0], np.rint(RAMP / 257).astype(np.uint8))
    assert (grey == grey[..., :1]).all()


def test_grey_of_32_bits_is_scaled_where_it_has_the_values_of_16(tmp_path: Path) -> None:
    grey = np.asarray(open_rgb(saved(tmp_path / "g.tif", RAMP.astype(np.int32))))
    assert (grey.min(), grey.max()) == (0, 255)


def test_floats_from_0_to_1_are_scaled(tmp_path: Path) -> None:
    values = (RAMP / 65535).astype(np.float32)
    grey = np.asarray(open_rgb(saved(tmp_path / "f.tif", values)))
    assert np.array_equal(grey[..., 0], np.rint(values * 255.0).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP.astype(np.int32) * 2, "grey values from 0 to 131,070, which are not those of 16 bits"),
        (RAMP.astype(np.int32) - 1000, "grey values from -1,000 to 64,535"),
        (RAMP // 257, "its values end at 255: it would be black"),
        ((RAMP / 257).astype(np.float32), "grey values from 0 to 255, not from 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), "grey values from nan to nan"),
    ],
)
def test_grey_whose_white_is_not_known_is_refused(tmp_path: Path, values: npt.NDArray[np.generic], reason: str) -> None:
    with pytest.raises(DataError) as error:
        open_rgb(saved(tmp_path / "g.tif", values))
    assert reason in error.value.problem and "g.tif" in error.value.problem
    assert "--on-bad-item skip" in error.value.remedy


def test_an_all_black_image_is_black(tmp_path: Path) -> None:
    assert not np.asarray(open_rgb(saved(tmp_path / "g.png", np.zeros((4, 4), np.uint16)))).any()


@pytest.mark.parametrize(
    ("start", "remedy"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "pip install pillow-heif"),
        (b"\xff\x0a\xfa\x9f\x71", "pip install pillow-jxl-plugin"),
    ],
)
def test_an_image_that_needs_another_library_names_it_whatever_its_extension(
    tmp_path: Path, start: bytes, remedy: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(start)
    with pytest.raises(DataError, match="Pillow does not decode") as error:
        open_rgb(tmp_path / "photo.jpg")
    assert remedy in error.value.remedy
