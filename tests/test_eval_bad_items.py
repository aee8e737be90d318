"""`editkit eval` on items that cannot be used: left out by name, or an error; and the fingerprint of images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from command_line import as_error, done, run
from models import DEMO, images_of, table, visu
from PIL import Image


def test_visu_leaves_missing_and_corrupt_images_out_by_name(tmp_path: Path) -> None:
    folder = visu(tmp_path / "visu", 12)
    elements = json.loads((folder / "ViSU-Text_test.json").read_text())
    lost, corrupt = elements[2], elements[7]
    (folder / images_of(lost, "test")[1].relative_to(DEMO / "data")).unlink()
    (folder / images_of(corrupt, "test")[0].relative_to(DEMO / "data")).write_bytes(b"no image")
    flags = ("eval", "retrieval", "--data", f"visu:{folder}", "--workers", 0)
    report = done(*flags, "--json").json
    reasons = {entry["id"]: entry["reason"] for entry in report["left_out"]}
    assert set(reasons) == {str(one["incremental_id"]) for one in (lost, corrupt)}
    assert "missing" in reasons[str(lost["incremental_id"])]
    assert "cannot be read" in reasons[str(corrupt["incremental_id"])]
    assert report["data"]["n"] == 10 and report["models"][0]["metrics"]["Ts-Vs"]["n"] == 10

    rest = [one for one in elements if one not in (lost, corrupt)]
    clean = tmp_path / "clean"
    shutil.copytree(folder, clean)
    (clean / "ViSU-Text_test.json").write_text(json.dumps(rest))
    expected = done("eval", "retrieval", "--data", f"visu:{clean}", "--workers", 0, "--json").json
    assert report["models"][0]["metrics"] == expected["models"][0]["metrics"]
    assert "Left out: 2" in done(*flags).flat
    assert done(*flags, "--json").json == report  # from the cache


def test_visu_with_most_images_missing_is_an_error(tmp_path: Path) -> None:
    folder = visu(tmp_path / "visu", 6)
    shutil.rmtree(folder / "unsafe")
    (folder / "unsafe").mkdir()
    message = as_error(run("eval", "safeground", "--data", f"visu:{folder}", "--workers", 0))
    assert "6 of 6 items cannot be used" in message and "data.unsafe=DIR" in message


def test_pairs_with_a_corrupt_image_are_an_error_unless_bad_items_are_skipped(tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs", split="test")
    row = json.loads(pairs.read_text().splitlines()[3])
    bad = tmp_path / "pairs" / row["unsafe_image"]
    bad.write_bytes(b"no image")
    flags = ("eval", "safeground", "--data", pairs)  # with worker processes
    assert bad.name in as_error(run(*flags))
    report = done(*flags, "--on-bad-item", "skip", "--json").json
    [entry] = report["left_out"]
    assert entry["id"] == row["id"] and bad.name in entry["reason"]
    assert report["data"]["n"] == 5


def test_the_fingerprint_follows_the_bytes_of_the_images(tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs", split="test")
    flags = ("eval", "safeground", "--data", pairs, "--workers", 0, "--json")
    before = done(*flags).json
    image = next((tmp_path / "pairs").glob("safe-*.jpg"))
    with Image.open(image) as opened:
        opened.rotate(180).save(image)
    assert done(*flags).json["data"]["fingerprint"] != before["data"]["fingerprint"]
