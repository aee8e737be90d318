"""The table of docs/models.md that says what works: each row is tried with a small model of its family."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clip_family_models import tiny_altclip, tiny_chinese_clip, tiny_metaclip2, tiny_pipeline
from command_line import as_error, done, run
from hub_transformers_repositories import clip, llava, unknown_family
from siglip_models import tiny_naflex, tiny_siglip, tiny_siglip_tower
from vlm_models import tiny_vlm, with_tower
from vlm_settings import PUBLISHED

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
ROW = re.compile(r"\| (?P<family>[^|]+) \| `(?P<example>[^`]+)` \| (?P<outcome>[^|]+) \|")


def part_of_a_pipeline(name: str, folder: Path) -> Path:
    return tiny_pipeline(folder) / name


SMALL: Mapping[str, Callable[[Path], Any]] = {
    "openai/clip-vit-large-patch14": clip,
    "facebook/metaclip-2-worldwide-huge-quickgelu": tiny_metaclip2,
    "BAAI/AltCLIP": tiny_altclip,
    "OFA-Sys/chinese-clip-vit-base-patch16": tiny_chinese_clip,
    "stable-diffusion-v1-5/stable-diffusion-v1-5/text_encoder": partial(part_of_a_pipeline, "text_encoder"),
    "stabilityai/stable-diffusion-xl-base-1.0/text_encoder_2": partial(part_of_a_pipeline, "text_encoder_2"),
    "h94/IP-Adapter/models/image_encoder": partial(part_of_a_pipeline, "image_encoder"),
    "google/siglip-so400m-patch14-384": tiny_siglip,
    "google/siglip2-base-patch16-naflex": tiny_naflex,
    "black-forest-labs/FLUX.1-Redux-dev/image_encoder": partial(tiny_siglip_tower, tower="vision"),
    "llava-hf/llava-1.5-7b-hf": llava,
    **{name: partial(tiny_vlm, name=name, processor=False) for name in PUBLISHED},
    "mistral-community/pixtral-12b": partial(with_tower, kind="pixtral"),
    "florence-community/Florence-2-base": unknown_family,
    "Salesforce/blip2-opt-2.7b": partial(unknown_family, model_type="blip-2"),
    "Qwen/Qwen2.5-VL-3B-Instruct": partial(unknown_family, model_type="qwen2_5_vl"),
}


def rows() -> list[tuple[str, str]]:
    section = PAGE.read_text().partition("### transformers\n")[2].partition("\n## ")[0]
    return [(row["example"], row["outcome"].strip()) for row in ROW.finditer(section)]


@pytest.mark.parametrize(("example", "outcome"), [row for row in rows() if row[1] != "not tried"])
def test_each_row_says_what_happens(example: str, outcome: str, tmp_path: Path) -> None:
    folder = SMALL[example](tmp_path / "model") or tmp_path / "model"
    plan = ("plan", "--model", folder, "--scorer", "magnitude")
    if outcome == "works":
        assert done(*plan).out
    else:
        assert as_error(run(*plan)).startswith("Error: ")
        assert outcome.removeprefix("refused: ") in as_error(run(*plan))


def test_every_family_is_in_the_table() -> None:
    assert {example for example, _ in rows()} >= SMALL.keys() | PUBLISHED.keys()
