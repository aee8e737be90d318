"""LLaVA's kin: other projectors, other names, other things that a language model is shown of a vision tower."""

from __future__ import annotations

from pathlib import Path

import pytest
from vlm_models import PUBLISHED, plain_vlm, tiny_vlm

from editkit.testing import check_adapter

ADAPTERS = {
    "paligemma": "paligemma",
    "gemma3": "gemma3",
    "idefics3": "smolvlm",
    "smolvlm": "smolvlm",
}


def adapter_of(name: str) -> str:
    return ADAPTERS.get(PUBLISHED[name].config["model_type"], "llava")


@pytest.mark.parametrize("published", [True, False], ids=["published", "live names"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_they_keep_the_contract(name: str, published: bool, tmp_path: Path) -> None:
    source = tiny_vlm(tmp_path / "model", name, published=published, processor=False)
    check_adapter(adapter_of(name), source, library=plain_vlm(name))
