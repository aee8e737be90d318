"""Data sets of the hub: the files of one split are fetched, found again offline, and refused in two lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Ran, as_error
from hub_contents import read_files
from hub_faults import Fault, down
from hub_repositories import stock
from hub_server import Hub, serving
from models import tiny_clip
from on_the_hub import on_the_hub, visitor

PAIRS, PETS = "someone/pairs", "clip-benchmark/wds_vtab-pets"
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving() as hub:
        made = tmp_path_factory.mktemp("made")
        stock(hub, made, PAIRS, PETS)
        files = read_files(made / PAIRS)
        hub.add("someone/uncarded", {path: files[path] for path in files if path != "README.md"}, "dataset")
        hub.add("someone/tables", {"data/test.jsonl": b"{}"}, "dataset")
        hub.add("someone/gated", files, "dataset", gated=True)
        hub.add("someone/broken", files, "dataset", faults=[Fault(down(500))])
        yield hub


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(hub: Hub, cache: Path) -> Iterator[Run]:
    with visitor(hub, cache) as run:
        yield run


def fetched(hub: Hub, name: str) -> set[str]:
    return {one.file for one in hub.asked(name) if one.sent}


@pytest.mark.parametrize("name", [PAIRS, "someone/uncarded"])
def test_pairs_of_one_split_are_fetched_and_no_other_split(hub: Hub, run: Run, model: Path, name: str) -> None:
    ran = run("plan", "--model", model, "--data", f"pairs:hf:{name}", "--split", "test", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["data"] == {"name": f"pairs:hf:{name}", "split": "test", "n": 4}
    assert fetched(hub, name) - {"README.md"} == {"data/test-00000-of-00001.parquet"}


def test_an_edit_looks_at_pairs_of_the_hub_also_by_their_address_and_offline(
    hub: Hub, run: Run, cache: Path, model: Path, tmp_path: Path
) -> None:
    command = ("edit", "--model", model, "--tau", 0.2, "--split", "train", "--json", "--data")
    online = run(*command, f"pairs:https://huggingface.co/datasets/{PAIRS}", "-o", tmp_path / "online")
    assert online.code == 0, online.err
    asked = len(hub.requests)
    again = (*command, f"pairs:hf:{PAIRS}", "-o", tmp_path / "offline")
    never = (*command, "pairs:hf:someone/unknown", "-o", tmp_path / "never")
    offline, unknown = on_the_hub(hub, again, never, cache=cache, variables={"HF_HUB_OFFLINE": "1"})
    assert offline.code == 0, offline.err
    assert len(hub.requests) == asked
    assert offline.json["record"]["data"] == online.json["record"]["data"]
    assert "HF_HUB_OFFLINE forbids asking the hub. Go online, or give a table: --data pairs:FILE" in as_error(unknown)


def test_data_that_cannot_be_had_are_refused_in_two_lines(run: Run, model: Path) -> None:
    told = {
        "someone/none": "no such data set on the hub. Check the spelling; a private data set needs `hf auth login`",
        "someone/gated": "someone/gated is gated. Accept its terms at https://huggingface.co/datasets/someone/gated",
        "someone/broken": "The hub answered 500, a fault of its own, when asked for someone/broken",
        "someone/tables": "no Parquet files of a split 'test'; other forms need the library 'datasets'",
    }
    for name, words in told.items():
        ran = run("plan", "--model", model, "--data", f"pairs:hf:{name}", "--split", "test")
        if name != "someone/tables" or "other forms" in ran.err:  # where the library is installed, it reads them
            assert words in as_error(ran)
    absent = run("plan", "--model", model, "--data", f"pairs:hf:{PAIRS}", "--split", "val")
    assert f"hf:{PAIRS} has no split 'val'. It has: train, test. Name one with --split" in as_error(absent)


def test_a_set_of_clip_benchmark_is_fetched_without_its_training_images(hub: Hub, run: Run, model: Path) -> None:
    flags = ("--data", "zeroshot:hf:clip-benchmark", "--profile", "clip-benchmark")
    ran = run("eval", "zeroshot", "--model", model, *flags, "--sets", "pets", "--json")
    assert ran.code == 0, ran.err
    wanted = {"classnames.txt", "zeroshot_classification_templates.txt", "test/0.tar", "test/1.tar", "test/nshards.txt"}
    assert fetched(hub, PETS) == wanted
    absent = as_error(run("eval", "zeroshot", "--model", model, *flags, "--sets", "dtd"))
    assert "no such data set on the hub" in absent
    other = as_error(run("eval", "zeroshot", "--model", model, "--data", "zeroshot:hf:clip-benchmark"))
    assert "Add --profile clip-benchmark, or give a folder" in other
