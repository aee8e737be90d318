"""What is built as CLIP is: MetaCLIP 2, and AltCLIP and Chinese CLIP, whose captions are read by a BERT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from clip_family_models import plain_clip, tiny_altclip, tiny_chinese_clip, tiny_metaclip2

from editkit.testing import check_adapter

KIN: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "metaclip2": ("clip", tiny_metaclip2),
    "altclip": ("altclip", tiny_altclip),
    "altclip as transformers saves it": ("altclip", partial(tiny_altclip, published=False)),
    "chinese clip": ("chinese-clip", tiny_chinese_clip),
}


@pytest.mark.parametrize("family", KIN)
def test_they_keep_the_contract(family: str, tmp_path: Path) -> None:
    adapter, write = KIN[family]
    check_adapter(adapter, write(tmp_path / "model"), library=plain_clip)
