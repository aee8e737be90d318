"""What tests share: their own cache, no network, one thread, the reference model and numbers, plugins to install."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models this small gain nothing by a second; tests run side by side
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.models.batches import Batch

GOLDEN = Path(__file__).parent / "golden"
PAIRS = 12
NUMBERS = count()

settings.register_profile("editkit", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("editkit")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use the cores that this process may use, however many the machine has; each worker imports torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def pytest_collection_finish() -> None:
    """Exempt the imported libraries, millions of objects, from garbage collection: edits collect after each model."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the interpreter's end find them again: libraries complain of what is left."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tests' caches."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def own_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that no test is served what another one stored."""
    folder = caches / str(next(NUMBERS))
    folder.mkdir()
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def beside_place(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with the cache that the module's fixture `place` has filled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDITKIT_CACHE_DIR", str(place / "cache"))


@pytest.fixture(autouse=True)
def hub_asked_anew() -> None:
    """Let each test find the models of its own cache of the hub: a process keeps to what it has found."""
    from editkit.files.hub import open_repository

    open_repository.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A current folder of the session's own: commands keep their results in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield


@pytest.fixture
def runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in which runs are kept."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def reference() -> dict[str, Tensor]:
    """The released code's inputs and results (see golden/README.md)."""
    from safetensors.torch import load_file

    return load_file(GOLDEN / "reference.safetensors")


@pytest.fixture
def clip() -> Any:
    """The reference model through the real adapter; the folder has no tokenizer, so it is wrapped by hand."""
    from transformers import CLIPModel

    from editkit_clip.transformers_model import LoadedClip

    module = CLIPModel.from_pretrained(GOLDEN / "model").eval().requires_grad_(False)
    return LoadedClip(module, None, None, ("text", "vision"))


@pytest.fixture(scope="session")
def clip_sites() -> list[Any]:
    """Every site of the reference model, as its adapter lists them."""
    from editkit_clip.transformers_format import TransformersClip

    adapter = TransformersClip()
    return adapter.sites(adapter.open(str(GOLDEN / "model")))


@pytest.fixture
def pair_batches(reference: dict[str, Tensor]) -> Callable[[Any, str, int], Iterator[Batch]]:
    """`pair_batches(model, tower, size)`: the reference's pairs as a model's batches, captions without padding."""
    from editkit.models.batches import Batch

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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`install(dist, module, code)`: a distribution with one entry point, found as pip's are."""
    root = tmp_path / "site-packages"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.delenv("EDITKIT_PLUGINS", raising=False)

    def write(dist: str, module: str, code: str, *, requires: str = "editkit", **more: str) -> None:
        entries = {module: code, **more}
        for name, content in entries.items():
            (root / f"{name}.py").write_text(dedent(content))
        info = root / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        header = f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\nRequires-Dist: {requires}\n"
        (info / "METADATA").write_text(header)
        points = "".join(f"{name} = {name}\n" for name in entries)
        (info / "entry_points.txt").write_text(f"[editkit]\n{points}")

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def plugin_file(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """`plugin_file(name, code)`: a plugin in one file; afterwards its module is gone."""
    names = []

    def write(name: str, code: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(code))
        names.append((name, str(path)))
        return path

    yield write
    for name, path in names:
        if getattr(sys.modules.get(name), "__file__", None) == path:
            del sys.modules[name]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder of a few small tensors."""
    from tiny_checkpoints import model_folder

    return model_folder(tmp_path / "model")


@pytest.fixture
def saved(model: Path, tmp_path: Path) -> Path:
    """A patch that negates some weights of `model`."""
    from tiny_patches import negated

    negated(model).save(tmp_path / "patch", "# card")
    return tmp_path / "patch"
