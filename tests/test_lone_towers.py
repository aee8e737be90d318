"""Single towers of CLIP: a pipeline's text encoders, IP-Adapter's image encoder, a tower that LLaVA was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_family_models import (
    plain_tower,
    tiny_image_encoder,
    tiny_pipeline,
    tiny_text_encoder,
    write_image_processor,
    write_tokenizer,
)
from siglip_models import plain_siglip_tower, tiny_siglip_tower

from editkit.testing import check_adapter


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("lone") / "pipeline")


# the contract, on every form in which towers are published


@pytest.mark.parametrize(
    ("part", "adapter"),
    [("text_encoder", "clip-text"), ("text_encoder_2", "clip-text"), ("image_encoder", "clip-vision")],
)
def test_a_part_of_a_pipeline_keeps_the_contract(part: str, adapter: str, pipeline: Path) -> None:
    check_adapter(adapter, pipeline / part, library=plain_tower)


def test_a_text_tower_as_transformers_saves_it_keeps_it(tmp_path: Path) -> None:
    source = tiny_text_encoder(tmp_path / "model", published=False)
    write_tokenizer(source)
    check_adapter("clip-text", source, library=plain_tower)


@pytest.mark.parametrize("published", [True, False])
def test_a_vision_tower_without_a_projection_keeps_it(published: bool, tmp_path: Path) -> None:
    source = tiny_image_encoder(tmp_path / "model", projected=False, published=published)
    write_image_processor(source)
    check_adapter("clip-vision", source, library=plain_tower)


@pytest.mark.parametrize(("tower", "published"), [("text", True), ("text", False), ("vision", True), ("vision", False)])
def test_siglips_towers_keep_it(tower: str, published: bool, tmp_path: Path) -> None:
    source = tiny_siglip_tower(tmp_path / "model", tower, published=published)
    check_adapter(f"siglip-{tower}", source, library=plain_siglip_tower)
