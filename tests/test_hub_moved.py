"""Patches of a branch that has moved since: both commits are named, and how to get the one of the patch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from command_line import Ran, as_error
from hub_contents import Files, Repository, read_files
from hub_repositories import write
from hub_server import Hub, serving
from hub_transformers_repositories import clip_tensors
from models import table
from on_the_hub import on_the_hub, visitor
from safetensors.torch import save

BASE = "openai/clip-vit-large-patch14"
NUMBERS = count()
QUICKLY = ("--limit", 2, "--no-controls")
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return read_files(write(tmp_path_factory.mktemp("made"), BASE))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("data"), 2)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def model(hub: Hub, files: Files) -> Repository:
    return hub.add(f"org/model-{next(NUMBERS)}", files)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def before(hub: Hub, cache: Path) -> Iterator[Run]:
    """A process that stays at the commit it found a branch at."""
    with visitor(hub, cache) as run:
        yield run


@pytest.fixture
def patch(before: Run, model: Repository, tmp_path: Path) -> tuple[Path, str]:
    """A patch, and the commit that it was made from."""
    flags = ("--scorer", "magnitude", "--tau", 0.02, "--model", model.name)
    ran = before("edit", *flags, "-o", tmp_path / "patch", "--json")
    assert ran.code == 0, ran.err
    commit = ran.json["record"]["model"]["commit"]
    assert commit == model.branches["main"]
    return tmp_path / "patch", commit


def test_other_weights_are_refused_with_both_commits_and_the_command_that_pins(
    hub: Hub, cache: Path, model: Repository, patch: tuple[Path, str], files: Files, data: Path, tmp_path: Path
) -> None:
    folder, commit = patch
    now = model.commit({**files, "model.safetensors": save(clip_tensors(seed=3), {"format": "pt"})})
    evaluate = ("eval", "retrieval", "--patch", folder, "--data", data, *QUICKLY)
    apply, measured, pinned = on_the_hub(
        hub,
        ("apply", folder, model.name, "-o", tmp_path / "edited"),
        evaluate,
        (*evaluate, "--model", f"{model.name}@{commit}"),
        cache=cache,
    )
    facts = f"made from commit {commit[:12]} of {model.name}, and this is {now[:12]}."
    *_, problem, remedy = apply.err.splitlines()
    assert apply.code == 1 and not (tmp_path / "edited").exists()
    assert problem.startswith("Error: Tensor") and problem.endswith(facts)
    command = remedy.removeprefix("Use that commit: editkit ")
    assert command == f"apply {folder} {model.name}@{commit} -o {tmp_path / 'edited'}"
    *_, problem, remedy = measured.err.splitlines()
    assert measured.code == 1 and problem.endswith(facts)
    assert remedy == f"Add --model {model.name}@{commit} to the same command."
    assert pinned.code == 0, pinned.err
    [applied] = on_the_hub(hub, shlex.split(command), cache=cache)
    assert applied.code == 0, applied.err
    assert (tmp_path / "edited" / "model.safetensors").is_file()


def test_the_same_weights_at_another_commit_are_taken_with_a_note(
    hub: Hub, cache: Path, model: Repository, patch: tuple[Path, str], files: Files, data: Path, tmp_path: Path
) -> None:
    folder, commit = patch
    now = model.commit({**files, "README.md": b"# Another card\n"})
    note = (
        f"the patch was made from commit {commit[:12]} of {model.name}, and this is {now[:12]}, whose weights are the"
    )
    apply, measured = on_the_hub(
        hub,
        ("apply", folder, model.name, "-o", tmp_path / "edited"),
        ("eval", "retrieval", "--patch", folder, "--data", data, *QUICKLY, "--json"),
        cache=cache,
    )
    assert apply.code == 0 and note in apply.err
    assert measured.code == 0, measured.err
    assert [line for line in measured.json["notes"] if line.startswith(note)]
    assert measured.json["run"]["model"]["commit"] == now


def test_a_process_stays_at_one_commit(
    before: Run, model: Repository, patch: tuple[Path, str], files: Files, tmp_path: Path
) -> None:
    _, commit = patch
    model.commit({**files, "README.md": b"# Another card\n"})
    again = before(
        "edit", "--scorer", "magnitude", "--tau", 0.1, "--model", model.name, "-o", tmp_path / "second", "--json"
    )
    assert again.json["record"]["model"]["commit"] == commit


def test_a_branch_that_moves_while_it_is_opened_is_opened_at_one_commit(
    before: Run, model: Repository, files: Files
) -> None:
    config = json.loads(files["config.json"]) | {"transformers_version": "5.0.0"}
    now = model.commit({**files, "config.json": json.dumps(config).encode()}, after_next_call=True)
    ran = before("plan", "--scorer", "magnitude", "--model", model.name, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["model"]["commit"] == now


def test_a_patch_of_another_repository_is_refused_without_its_commit(
    hub: Hub, before: Run, patch: tuple[Path, str], files: Files, tmp_path: Path
) -> None:
    other = hub.add(f"org/other-{next(NUMBERS)}", files)
    other.commit({**files, "model.safetensors": save(clip_tensors(seed=3), {"format": "pt"})})
    ran = before("apply", patch[0], other.name, "-o", tmp_path / "edited")
    assert "commit" not in ran.err.splitlines()[-2] and ran.code == 1
    assert "Use exactly that checkpoint" in ran.err
    assert as_error(before("apply", patch[0], f"{other.name}@v3", "-o", tmp_path / "edited"))
