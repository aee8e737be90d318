"""What every test shares: a cache of its own, no network, few threads, and the reference model and numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.streams import Batch

GOLDEN = Path(__file__).parent / "golden"
PAIRS = 12

settings.register_profile("editkit", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("editkit")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that no test is served what another one stored."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def reference() -> dict[str, Tensor]:
    """The released code's inputs and results (see golden/README.md)."""
    from safetensors.torch import load_file

    return load_file(GOLDEN / "reference.safetensors")


@pytest.fixture
def clip() -> Any:
    """The reference model through the real adapter; the folder has no tokenizer, so it is wrapped by hand."""
    from transformers import CLIPModel

    from editkit_clip.transformers_format import LoadedClip

    module = CLIPModel.from_pretrained(GOLDEN / "model").eval().requires_grad_(False)
    return LoadedClip(module, None, None, ("text", "vision"))


@pytest.fixture(scope="session")
def clip_sites() -> list[Any]:
    """Every site of the reference model, as its adapter lists them."""
    from editkit.specs import NoOptions
    from editkit_clip.transformers_format import TransformersClip

    adapter = TransformersClip(NoOptions())
    return adapter.sites(adapter.open(str(GOLDEN / "model")))


@pytest.fixture
def pair_batches(reference: dict[str, Tensor]) -> Callable[[Any, str, int], Iterator[Batch]]:
    """`pair_batches(model, tower, size)`: the reference's pairs as a model's batches, captions without padding."""
    from editkit.streams import Batch

    def batches(model: Any, tower: str, size: int) -> Iterator[Batch]:
        for start in range(0, PAIRS, size):
            rows = list(range(start, min(PAIRS, start + size)))
            both = rows + [row + PAIRS for row in rows]
            if tower == "vision":
                yield Batch(tuple(rows), {"pixel_values": reference["pixel_values"][both]}, None)
                continue
            lengths = reference["attention_mask"][both].sum(dim=1).tolist()
            held = reference["input_ids"][both].tolist()
            ids = [row[:length] for row, length in zip(held, lengths, strict=True)]
            inputs, mask = model.text_inputs(ids, "real")
            yield Batch(tuple(rows), inputs, mask)

    return batches
