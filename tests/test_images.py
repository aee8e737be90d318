"""Decoding: every image becomes RGB, and every broken one is named."""

from __future__ import annotations

from pathlib import Path

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
