"""UCF101: the middle frame of each test video.

    ucfTrainTestlist/classInd.txt           "1 ApplyEyeMakeup"
    ucfTrainTestlist/testlist01.txt ...     "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"; all three lists are scored
    UCF-101/ApplyEyeMakeup/*.avi            the videos, or, in their place,
    UCF-101-midframes/*/*.jpg               one image per video, of the same name

Frame number n // 2 of n is taken. A video's number of frames is counted, not read from its header, which may be wrong.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path

from editkit.data.readers.content import Content, LazyImage, labelled
from editkit.data.readers.folders import class_folders
from editkit.data.readers.images import ImageSource
from editkit.errors import DataError, InstallError

LISTS = ("testlist01.txt", "testlist02.txt", "testlist03.txt")
FRAMES = "UCF-101-midframes"


def read_videos(folder: Path) -> Content:
    """Read the three test lists; frames that lie there as images are preferred to videos.

    Raises:
        DataError: a list is missing or names an unknown class.
        InstallError: there are only videos, and nothing that decodes them.
    """
    lists = folder / "ucfTrainTestlist"
    names = [line.split()[1] for line in _lines(lists / "classInd.txt")]
    frames: dict[str, Path] = {}
    if (folder / FRAMES).is_dir():
        frames = {image.stem: image for _, image in class_folders(folder / FRAMES).rows()}
    elif find_spec("cv2") is None:
        raise InstallError(
            "UCF101 is made of videos, and OpenCV, which decodes them, is not installed.",
            f"Run `pip install opencv-python-headless`, or put the middle frames into {FRAMES}/.",
        )
    rows: list[tuple[ImageSource, str, str]] = []
    for name in LISTS:
        for line in _lines(lists / name):
            path = line.split()[0]
            part, stem = path.partition("/")[0], Path(path).stem
            if part not in names:
                raise DataError(f"{name}: '{path}' is of no class of classInd.txt.", "Restore UCF101's own lists.")
            rows.append((_frame(folder, path, frames), part, stem))
    return labelled(rows, names)


def _frame(folder: Path, path: str, frames: dict[str, Path]) -> ImageSource:
    if frames:
        return frames.get(Path(path).stem, folder / FRAMES / Path(path).with_suffix(".jpg"))
    video = folder / "UCF-101" / path
    # a missing one stays a path: like any missing image, it is an error or left out
    return LazyImage(f"{video}, middle frame", partial(middle_frame, video)) if video.is_file() else video


def middle_frame(video: Path) -> bytes:
    """Decode the middle frame and return it as PNG; empty, which no decoder takes for an image, if there is none."""
    import cv2

    count = 0
    first = cv2.VideoCapture(str(video))
    while first.grab():
        count += 1
    first.release()
    second = cv2.VideoCapture(str(video))
    for _ in range(count // 2):
        second.grab()
    found, frame = second.read()
    second.release()
    if not found:
        return b""
    _, encoded = cv2.imencode(".png", frame)
    return bytes(encoded)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Put UCF101's train/test lists there.") from error
