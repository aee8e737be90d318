"""Configs as the hub's oldest CLIP folders have them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from editkit_clip.transformers_format import TransformersClip

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("place", ["text_config_dict", "text_config"])
def test_the_depth_is_read_from_either_place(tmp_path: Path, place: str) -> None:
    folder = shutil.copytree(GOLDEN / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    stated = config.pop("text_config")
    config |= {"text_config": None, place: stated} if place != "text_config" else {"text_config": stated}
    (folder / "config.json").write_text(json.dumps(config))
    adapter = TransformersClip()
    sites = adapter.sites(adapter.open(str(folder)))
    assert {site.layer for site in sites if site.tower == "text"} == {0, 1}
