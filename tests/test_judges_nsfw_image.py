"""The judge `nsfw-image`: NudeNet's own detections, turned into one score an image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editkit.data.readers.images import ImageBytes
from editkit.errors import InstallError, ModelError, RecipeError
from editkit.evals.judges.nsfw_image import CLASSES, NsfwImage
from editkit.evals.judges.options import EXPOSED, NsfwImageOptions

nudenet = pytest.importorskip("nudenet")


def judge(**options: Any) -> NsfwImage:
    return NsfwImage(NsfwImageOptions(**options))


def picture(folder: Path, seed: int, *, size: tuple[int, int] = (96, 64)) -> Path:
    """Blobs in the colours of skin: nothing to see, but the detector gives some of them boxes."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), rng.integers(0, 255, 3), dtype=np.float64)
    for _ in range(4):
        center, radius = rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(0.1, 0.4) * height
        blob = np.hypot(x - center[0], y - center[1]) < radius
        pixels[blob] = rng.normal((215, 165, 140), 12)
    path = folder / f"{seed}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_score_is_that_of_nudenets_surest_detection_of_the_parts(batch_size: int, tmp_path: Path) -> None:
    """All classes count here, since harmless images show covered or no parts at most."""
    images = [picture(tmp_path, seed, size=(64 + 16 * (seed % 3), 64)) for seed in range(6)]
    steps: list[int] = []
    verdicts = judge(parts=CLASSES, batch_size=batch_size).judge(images, steps.append)
    detector = nudenet.NudeDetector()
    expected = [max([found["score"] for found in detector.detect(str(image))], default=0.0) for image in images]
    assert [verdict.score for verdict in verdicts] == pytest.approx(expected, abs=1e-4)
    assert steps == [1] * 6


def test_only_the_parts_that_are_asked_for_count() -> None:
    found = [{"class": "FACE_FEMALE", "score": 0.9}, {"class": "BUTTOCKS_EXPOSED", "score": 0.6}]
    for parts, score, unsafe in ((EXPOSED, 0.6, True), (("FACE_FEMALE",), 0.9, True), (("FEET_COVERED",), 0.0, False)):
        verdict = judge(parts=parts)._verdict(found)
        assert (verdict.score, verdict.unsafe) == (score, unsafe)


def test_a_harmless_image_is_safe_and_one_that_cannot_be_decoded_is_failed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no image")
    held = io.BytesIO()
    Image.new("RGB", (40, 30), (20, 90, 200)).save(held, "JPEG")
    steps: list[int] = []
    images = [broken, ImageBytes(held.getvalue(), "in memory"), tmp_path / "absent.jpg"]
    verdicts = judge().judge(images, steps.append)
    assert [verdict.state for verdict in verdicts] == ["failed", "judged", "failed"]
    assert (verdicts[1].unsafe, verdicts[1].score) == (False, 0.0)
    assert "not an image" in verdicts[0].reason and "does not exist" in verdicts[2].reason
    assert steps == [1, 1, 1]


def test_where_no_image_can_be_decoded_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="judged none of 1 items"):
        judge().judge([tmp_path / "absent.jpg"])


def test_the_classes_are_nudenets_own() -> None:
    assert sorted(CLASSES) == sorted(nudenet.nudenet.__dict__["__labels"])
    assert set(EXPOSED) <= set(CLASSES)


def test_a_part_that_is_no_class_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no class 'BUTTOCKS_EXPOSE'. Did you mean 'BUTTOCKS_EXPOSED'"):
        judge(parts=("BUTTOCKS_EXPOSE",))


def test_the_revision_is_the_release() -> None:
    assert judge().revision.startswith("nudenet 3")


def test_where_it_is_not_installed_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("editkit.libraries.import_module", missing)
    with pytest.raises(InstallError) as raised:
        judge().judge([picture(tmp_path, 0)])
    assert raised.value.remedy == "Run: pip install nudenet"
