"""Models without the hub: from caches as other libraries fill them, forbidden to ask, and with the line down."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Ran, as_error
from hub_contents import Repository
from hub_faults import Fault, down
from hub_repositories import stock
from hub_server import Hub, serving
from on_the_hub import on_the_hub, visiting

BASE, LAION = "openai/clip-vit-large-patch14", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
EDIT = ("edit", "--scorer", "magnitude", "--tau", 0.02, "--json")
OFFLINE = {"HF_HUB_OFFLINE": "1"}
Call = Callable[..., object]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving() as hub:
        stock(hub, tmp_path_factory.mktemp("made"), BASE, LAION)
        yield hub


def transformers_and_open_clip() -> None:
    """Load both models as those who have never heard of editkit do."""
    import open_clip
    from huggingface_hub import hf_hub_download
    from transformers import AutoTokenizer, CLIPModel

    CLIPModel.from_pretrained(BASE)
    AutoTokenizer.from_pretrained(BASE)
    open_clip.create_model_and_transforms(f"hf-hub:{LAION}")
    for file in ("preprocessor_config.json", "tokenizer.json"):
        hf_hub_download(BASE, file)


@pytest.fixture(scope="module")
def filled(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that transformers and open_clip have filled."""
    cache = tmp_path_factory.mktemp("cache")
    with visiting(hub, cache) as call:
        call(transformers_and_open_clip)
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "cache", symlinks=True))


def place(cache: Path, name: str) -> Path:
    return cache / f"models--{name.replace('/', '--')}"


def main(hub: Hub, name: str) -> str:
    repository: Repository = hub.repositories["model", name]
    return repository.branches["main"]


def test_a_cache_that_other_libraries_filled_is_complete(hub: Hub, cache: Path, tmp_path: Path) -> None:
    snapshot = place(cache, BASE) / "snapshots" / main(hub, BASE)
    names = {path.name for path in snapshot.iterdir()}
    assert "model.safetensors" in names and not names & {"README.md", ".gitattributes"}
    asked = len(hub.requests)
    commands = [
        (*EDIT, "--model", source, "-o", tmp_path / str(number))
        for number, source in enumerate((BASE, f"open_clip:{LAION}", f"{BASE}@main"))
    ]
    for ran, name in zip(on_the_hub(hub, *commands, cache=cache, variables=OFFLINE), (BASE, LAION, BASE), strict=True):
        assert ran.code == 0, ran.err
        assert ran.json["record"]["model"]["commit"] == main(hub, name)
        assert ran.json["notes"] == []  # the user has forbidden to ask
    assert len(hub.requests) == asked


def test_what_the_cache_lacks_is_said(hub: Hub, cache: Path, tmp_path: Path) -> None:
    weights = place(cache, BASE) / "snapshots" / main(hub, BASE) / "model.safetensors"
    weights.unlink()
    commands = [
        (*EDIT, "--model", BASE, "-o", tmp_path / "patch"),
        (*EDIT, "--model", "org/unknown", "-o", tmp_path / "patch"),
        (*EDIT, "--model", f"{BASE}@v1", "-o", tmp_path / "patch"),
        (*EDIT, "--model", f"{BASE}@..", "-o", tmp_path / "patch"),
    ]
    without, unknown, revision, outside = on_the_hub(hub, *commands, cache=cache, variables=OFFLINE)
    said = as_error(without)
    assert "neither model.safetensors nor pytorch_model.bin is there in the hub's cache. Go online once" in said
    for ran, name in ((unknown, "org/unknown"), (revision, f"{BASE}@v1"), (outside, f"{BASE}@..")):
        assert f"There is no folder {name} here, nor is it in the hub's cache; HF_HUB_OFFLINE forbids" in as_error(ran)


def test_a_line_that_is_down_leaves_what_the_cache_has_with_a_note(hub: Hub, cache: Path, tmp_path: Path) -> None:
    """Also where the library has left a listing of the whole repository, which the cache has only a part of."""
    edit = (*EDIT, "--model", BASE, "-o")
    [online] = on_the_hub(hub, (*edit, tmp_path / "online"), cache=cache)
    assert online.code == 0, online.err
    [down_now] = on_the_hub("http://127.0.0.1:9", (*edit, tmp_path / "down"), cache=cache)
    assert down_now.code == 0, down_now.err
    [note] = down_now.json["notes"]
    assert note.startswith(f"{BASE} is commit {main(hub, BASE)[:12]} of the cache: the hub could not be asked")
    assert down_now.json["record"]["model"]["notes"] == [note]


def test_a_hub_in_trouble_leaves_what_the_cache_has_with_a_note(hub: Hub, cache: Path, tmp_path: Path) -> None:
    repository = hub.repositories["model", BASE]
    repository.faults = [Fault(down(503))]
    try:
        [ran] = on_the_hub(hub, (*EDIT, "--model", BASE, "-o", tmp_path / "patch"), cache=cache)
    finally:
        repository.faults = []
    assert ran.code == 0, ran.err
    assert ran.json["notes"] == [f"{BASE} is commit {main(hub, BASE)[:12]} of the cache: the hub answered 503"]


def test_a_part_of_a_listed_repository_is_found_offline(hub: Hub, tmp_path: Path) -> None:
    """After a plan the cache has small files, a listing of all files, and no weights."""
    cache = tmp_path / "cache"
    plan = ("plan", "--scorer", "magnitude", "--model", BASE, "--json")
    [online] = on_the_hub(hub, plan, cache=cache)
    assert online.code == 0, online.err
    assert list((place(cache, BASE) / "trees").iterdir())
    ran: Ran
    [ran] = on_the_hub(hub, plan, cache=cache, variables=OFFLINE)
    assert "is there in the hub's cache. Go online once" in as_error(ran)
    snapshot = place(cache, BASE) / "snapshots" / main(hub, BASE)
    (snapshot / "model.safetensors").write_bytes(
        hub.repositories["model", BASE].commits[snapshot.name]["model.safetensors"].content
    )
    [ran] = on_the_hub(hub, plan, cache=cache, variables=OFFLINE)
    assert ran.code == 0 and ran.json["model"]["commit"] == snapshot.name, ran.err
